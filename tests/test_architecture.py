"""The shape of the project: who imports whom, how long files are, what a start costs."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from source_imports import MAY_IMPORT, imports_of

ROOT = Path(__file__).resolve().parents[1]
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
PACKAGES = sorted(path.parent for path in SOURCES if path.name == "__init__.py")
PRODUCT_VERBS = ("predict", "evaluate", "doctor", "info", "export", "build", "import", "train")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def folder_of(name: str) -> str | None:
    """The folder of ours that an imported name lies in; None for other people's packages."""
    first, _, rest = name.partition(".")
    if first != "cornernet":
        return None
    second = rest.partition(".")[0]
    return second if second in MAY_IMPORT else "cornernet"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_go_one_way(folder):
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports_of(path)
        if (target := folder_of(name)) is not None and target not in MAY_IMPORT[folder]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        'importlib.import_module("cornernet.trainer.loop.train")',
        'import_module(f"cornernet.trainer.{name}")',
        'subprocess.run([sys.executable, "-m", "cornernet.trainer.loop.train"])',
        'subprocess.run([sys.executable, "-c", "from cornernet.trainer.loop import train"])',
        'CODE = """\nimport sys\nimport cornernet.trainer.loop.train\n"""',
        "def late():\n    from cornernet.trainer.loop import train",
    ],
)
def test_an_import_is_seen_however_it_is_written(line, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(f'"""from cornernet.export import build, in a docstring, is no import."""\n{line}\n')
    assert [folder_of(name) for name in imports_of(path) if name.startswith("cornernet")] == ["trainer"]


def test_the_front_door_run_as_a_module_is_seen_and_the_name_of_a_log_is_none(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('run([sys.executable, "-m", "cornernet", "train"])\nlogging.getLogger("cornernet.tensorrt")\n')
    assert [folder_of(name) for name in imports_of(path)] == ["cornernet"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "cornernet" else ("cornernet", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports when it runs, in functions and by string too."""
    modules = {module_name(path): path for path in SOURCES}

    def target(name: str) -> str | None:
        return next((known for known in (name, name.rpartition(".")[0]) if known in modules), None)

    return {
        module: {found for name in imports_of(path, types=False) if (found := target(name)) not in (None, module)}
        for module, path in modules.items()
    }


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Everything that `start` imports, directly or through others."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_no_two_files_need_each_other(graph):
    circles = [module for module in graph if module in reached(graph, module)]
    assert circles == []


@pytest.mark.parametrize("verb", PRODUCT_VERBS)
def test_a_product_verb_imports_no_benchmark(verb, graph):
    assert [name for name in reached(graph, f"cornernet.commands.{verb}") if "benchmarks" in name] == []


def test_the_detector_with_anchors_is_known_to_the_analyses_only():
    known = {
        name_of(path)
        for path in SOURCES
        for name in imports_of(path)
        if path.parent != ROOT / "benchmarks" / "anchor_baseline"
        if "anchor_baseline" in name or "compared_backbones" in name
    }
    assert known == {"benchmarks/analyses/compared_backbones.py", "cornernet/commands/analyse_training.py"}


def test_of_the_plugins_the_engine_imports_only_where_the_library_is_and_how_it_is_called():
    names = {name for path in (ROOT / "engine").rglob("*.py") for name in imports_of(path)}
    plugins = {name for name in names if name.startswith("cornernet.plugins")}
    where = {"cornernet.plugins.library_path", "cornernet.plugins.LIBRARY_VARIABLE"}
    how = ("Launchers", "LaunchError", "SCALINGS", "View")
    assert plugins == where | {f"cornernet.plugins.launchers.{name}" for name in how}


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_a_folder_says_what_lives_there_and_what_to_read_first(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert 2 <= len(said.splitlines()) <= 16
    first = re.search(r"[Ss]tart with ([\w./]+\.(?:py|md|cpp))", said)
    assert first, f"{name_of(folder)}/__init__.py names no file to start with"
    assert (folder / first[1]).is_file(), first[1]


def test_no_two_modules_have_the_same_name():
    """A verb's module has the verb's name, which may be that of the file that does the work; __init__ has no other."""
    homes = defaultdict(list)
    for path in SOURCES:
        if path.name != "__init__.py" and path.parent != ROOT / "cornernet" / "commands":
            homes[path.stem].append(name_of(path))
    assert {stem: paths for stem, paths in homes.items() if len(paths) > 1} == {}


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
