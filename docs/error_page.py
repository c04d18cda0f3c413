"""Every error the package raises on purpose, with its cure: read from the places that raise it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from cornernet.engine import errors

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("cornernet", "engine", "trainer", "export", "plugins", "benchmarks")
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CornerNetError) and kind.__module__ == errors.__name__
}


def error_page() -> str:
    """A section for each kind of error: what it means, and what it may say, file by file."""
    said = messages()
    parts = ["# Errors and cures", _escaped(inspect.getdoc(errors) or ""), "An ellipsis stands for what was found."]
    for name, kind in KINDS.items():
        parts += [f"## {name}", _escaped(inspect.getdoc(kind) or "")]
        for file, lines in said[name].items():
            parts += [f"`{file}`", "\n".join(f"* {_escaped(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def messages() -> dict[str, dict[str, list[str]]]:
    """Kind of error -> file -> what is said there, in the order of the code."""
    found: dict[str, dict[str, list[str]]] = {name: {} for name in KINDS}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
            for call in sorted(calls, key=lambda node: node.lineno):
                kind = getattr(call.func, "id", None)
                text = _text(call.args[0])
                if kind in KINDS and text is not None:
                    found[kind].setdefault(str(path.relative_to(ROOT)), []).append(text)
    return found


def _text(node: ast.expr) -> str | None:
    """A message with an ellipsis for each value; None if it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]
        return text if re.search(r"\w", text) else None
    return None


def _escaped(text: str) -> str:
    """Markdown's marks are text here, but for code."""
    return re.sub(r"([\[\]*_<>|\\~])", r"\\\1", text)
