"""Which folder may import which, and what a source file imports: statements, names in strings, code in strings."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

MAY_IMPORT = {
    "engine": {"engine", "plugins"},
    "plugins": {"plugins"},
    "trainer": {"trainer", "engine", "plugins"},
    "export": {"export", "trainer", "engine"},
    "benchmarks": {"benchmarks", "export", "trainer", "engine", "plugins"},
    "cornernet": {"cornernet", "benchmarks", "export", "trainer", "engine", "plugins"},
}
"""Folder -> the folders of ours that it may import. Only cornernet/ (the front door) sees everything."""

FOLDERS = ("benchmarks", "engine", "export", "plugins", "trainer")
NAME = re.compile(r"cornernet(?:\.\w+)+\.?")
STATEMENT = re.compile(r"^\s*(?:from|import)\s+(cornernet(?:\.\w+)*)", re.MULTILINE)


def imports_of(path: Path, *, types: bool = True) -> list[str]:
    """Full names of the modules and members that a file imports, inside functions and by string too.

    types: also what only a type checker imports (below `if TYPE_CHECKING`).
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(string) for node in ast.walk(tree) if (string := _docstring(node)) is not None}
    names = []
    for node in _nodes(tree, types):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write cornernet.<folder>"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            names += _named_by(node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            names += _run_as_module(node)
    return names


def _nodes(node: ast.AST, types: bool) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if types or not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _nodes(child, types)


def _docstring(node: ast.AST) -> ast.expr | None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    first = node.body[0] if node.body else None
    return first.value if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) else None


def _named_by(text: str) -> list[str]:
    """Modules of ours that a string names (for import_module, or `python -m`) or, as code, imports.

    "cornernet.tensorrt" is no module but the name of a log; what follows `cornernet.` decides.
    """
    if NAME.fullmatch(text):
        name = text.rstrip(".")
        return [name] if name.split(".")[1] in (*FOLDERS, "commands", "cli", "quickstart", "options") else []
    return STATEMENT.findall(text) if "\n" in text or text.startswith(("import ", "from ")) else []


def _run_as_module(words: ast.List | ast.Tuple) -> list[str]:
    """The front door in an argument list, `[python, "-m", "cornernet", ...]`."""
    values = [word.value if isinstance(word, ast.Constant) else None for word in words.elts]
    return ["cornernet.__main__" for pair in pairwise(values) if pair == ("-m", "cornernet")]
