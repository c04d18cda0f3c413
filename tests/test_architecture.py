"""The shape of the project: who imports whom, how long files are, what a start costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "engine": {"engine", "plugins"},
    "plugins": {"plugins"},
    "trainer": {"trainer", "engine"},
    "export": {"export", "trainer", "engine", "plugins"},
    "benchmarks": {"benchmarks", "export", "trainer", "engine", "plugins"},
    "cornernet": {"cornernet", "benchmarks", "export", "trainer", "engine", "plugins"},
}
"""Folder -> the folders of ours that it may import. Only cornernet/ (the front door) sees everything."""

SOURCES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONG_LIMITED = sorted(
    path
    for folder in (*MAY_IMPORT, "tests")
    for suffix in ("py", "cpp", "cu", "h", "cuh")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
    if "build" not in path.parts
)
LIMIT = 300


def imports_of(path: Path) -> list[str]:
    """Full names of the modules and members that a file imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write cornernet.<folder>"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def folder_of(name: str) -> str | None:
    """The folder of ours that an imported name lies in; None for other people's packages."""
    first, _, rest = name.partition(".")
    if first != "cornernet":
        return None
    second = rest.partition(".")[0]
    return second if second in MAY_IMPORT else "cornernet"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder):
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports_of(path)
        if (target := folder_of(name)) is not None and target not in MAY_IMPORT[folder]
    ]
    assert wrong == []


def test_the_engine_never_imports_torch():
    torch_names = ("torch", "torchvision", "safetensors", "onnxscript")
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in (ROOT / "engine").rglob("*.py")
        for name in imports_of(path)
        if name.partition(".")[0] in torch_names
    ]
    assert wrong == []


@pytest.mark.parametrize("paths", [SOURCES, TESTS], ids=["sources", "tests"])
def test_folders_are_imported_by_their_full_names(paths):
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in paths
        for name in imports_of(path)
        if name.partition(".")[0] in MAY_IMPORT.keys() - {"cornernet"}
    ]
    assert wrong == []


def test_no_file_is_longer_than_300_lines():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in LONG_LIMITED}
    assert {name: length for name, length in lengths.items() if length > LIMIT} == {}


def test_every_file_has_a_name_that_says_what_is_in_it():
    nameless = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "lib"}
    assert [name_of(path) for path in LONG_LIMITED if path.stem in nameless] == []


def test_every_module_says_what_it_is_for():
    silent = [
        name_of(path)
        for path in SOURCES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        and path.read_text(encoding="utf-8").strip() not in ("", '""""""')
    ]
    assert silent == []


def modules_after(code: str) -> set[str]:
    """Top-level packages in sys.modules after `code` ran in a fresh interpreter."""
    listing = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    report = f"import json, sys\n{code}\n{listing}"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import cornernet.engine",
        "from cornernet import Detector, read_image",
        "import cornernet.engine.scoring.evaluation",
    ],
)
def test_the_engine_comes_without_torch(code):
    assert modules_after(code).isdisjoint({"torch", "safetensors", "onnxscript", "matplotlib"})


def test_help_imports_nothing_heavy():
    heavy = {"torch", "onnx", "onnxruntime", "cv2", "numpy", "matplotlib", "pycocotools", "tensorrt", "tensorrt_rtx"}
    code = """
from cornernet.cli import app
sys.argv = ["cornernet", "--help"]
try:
    app()
except SystemExit as end:
    assert not end.code
"""
    loaded = modules_after(code)
    assert "typer" in loaded
    assert loaded.isdisjoint(heavy)
