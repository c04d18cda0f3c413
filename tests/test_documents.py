"""What README.md and its sisters name exists: files, make targets, commands with their options, versions."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
from source_imports import FOLDERS, MAY_IMPORT
from test_advice import options_of

from cornernet.benchmarks.gpu_parts import COMMANDS
from cornernet.cli import app
from cornernet.engine.backends.backend_options import BackendOptions
from cornernet.engine.detector import Detector
from cornernet.engine.reading.video import Video
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.thresholds import SHOWN

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "benchmarks/README.md",
        "engine/serving/README.md",
        "plugins/README.md",
    )
]
TOP = r"(?:engine|trainer|export|plugins|benchmarks|tests|docs|cornernet)/"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = PAGES[0].read_text(encoding="utf-8")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_lines(page: Path) -> list[str]:
    """Everything set as code: what is between backticks, and the lines of blocks without their comments."""
    text = text_of(page)
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [line.strip() for line in (*lines, *re.findall(r"`([^`]+)`", prose)) if line.strip()]


def commands(start: str) -> list:
    return [
        pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")
        for page in PAGES
        for line in dict.fromkeys(code_lines(page))
        if line.startswith(start)
    ]


@pytest.mark.parametrize("line", commands("cornernet "))
def test_a_command_that_a_page_shows_can_be_parsed(line):
    words = shlex.split(line.replace("...", ""))[1:]
    words = words[:-1] if words[-1] == "--help" else words
    command, name = typer.main.get_command(app), "cornernet"
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    if words:  # a verb alone needs no more than to exist
        command.make_context(name, words).close()


@pytest.mark.parametrize("line", commands("python -m "))
def test_a_module_that_a_page_runs_exists(line):
    module = shlex.split(line)[2]
    assert importlib.util.find_spec(module), line


@pytest.mark.parametrize("line", commands("make "))
def test_a_make_target_that_a_page_names_exists(line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{shlex.split(line)[1]}:", makefile, re.MULTILINE)
    assert re.search(rf"^\.PHONY:.* {shlex.split(line)[1]}( |$)", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_folders_that_a_page_names_exist(page):
    text = text_of(page)
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    named = re.findall(rf"`({TOP}[^`\s<*]*)`", text)
    missing = [name for name in linked if not (page.parent / name).exists()]
    assert missing + [name for name in named if not (ROOT / name).exists()] == []


def test_a_page_to_read_first_fits_one_page():
    assert len(text_of(ROOT / "CONTRIBUTING.md").splitlines()) <= 60


def folder_rows() -> dict[str, str]:
    """Folder -> what it imports, as the README's table says."""
    table = README.partition("| folder | is | imports |\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]
    return {cells[0].strip(" `/"): cells[-1].strip(" |") for cells in rows}


def test_the_readme_lists_each_folder_of_the_code_and_the_folders_in_it():
    tops = ("cornernet", *FOLDERS)
    inner = {str(path.parent.relative_to(ROOT)) for top in tops for path in (ROOT / top).glob("*/__init__.py")}
    # In cornernet/ the links to the other five are there too.
    inner -= {f"cornernet/{folder}" for folder in FOLDERS}
    assert folder_rows().keys() - {"tests", "docs"} == {*tops, *inner}


def test_the_readmes_imports_are_those_that_the_architecture_allows():
    for folder, allowed in MAY_IMPORT.items():
        said = folder_rows()[folder]
        named = set(re.findall(r"`(\w+)`", said))
        if said.startswith(("everything", "all but")):
            named = MAY_IMPORT.keys() - named
        assert named - {folder} == allowed - {folder}, folder


def test_python_versions_are_the_same_wherever_they_are_stated():
    versions = [line.rpartition(" ")[2] for line in PYPROJECT["project"]["classifiers"] if ":: 3." in line]
    lowest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert versions[0] == lowest == PYPROJECT["tool"]["mypy"]["python_version"]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    assert f"Python {lowest} or newer" in README
    assert f"tests run on {', '.join(versions[:-1])} and {versions[-1]}" in README
    assert f"sys.version_info >= ({lowest.replace('.', ', ')})" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_tensorrt_versions_are_those_of_the_gpu_extra():
    (requirement,) = [line for line in PYPROJECT["project"]["optional-dependencies"]["gpu"] if "tensorrt" in line]
    low, high = re.fullmatch(r"tensorrt>=([\d.]+),<(\d+)", requirement).groups()
    assert f"TensorRT {low} to {int(high) - 1}" in README


def test_the_bindings_of_the_readme_are_those_that_names_are_checked_against():
    checked = (ROOT / "tests/engine/backends/test_trt_names.py").read_text(encoding="utf-8")
    first, second, third = re.search(r'ids=\["([\d.]+)", "([\d.]+)", "([\d.]+)"\]', checked).groups()
    assert f"bindings of {first}, {second} and {third}" in README


@pytest.mark.parametrize("operator", ["corner_peaks", "corner_windows", "corner_group", "corner_soft_nms"])
def test_the_ranges_of_a_plugins_attributes_are_those_of_its_page(operator):
    code = (ROOT / f"plugins/tensorrt/{operator}_plugin.cpp").read_text(encoding="utf-8")
    ranges = re.findall(r'integer\("(\w+)", \w+, (\d+), (\d+), (?:true|false)\)', code)
    assert ranges
    for name, low, high in ranges:
        between = f"{low} or {high}" if int(high) - int(low) == 1 else f"{low} to {high}"
        assert f"| `{name}` | int | {between}" in text_of(ROOT / "plugins/README.md")


def test_trtexec_is_told_shapes_and_types_and_nothing_that_it_does_not_know():
    """Without shapes it builds for one pixel, without types it chooses them. Options: samples/common of TensorRT."""
    known = {"onnx", "stronglyTyped", "dynamicPlugins", "setPluginsToSerialize", "versionCompatible", "saveEngine"}
    page = code_lines(ROOT / "plugins/README.md")
    (shapes,) = (line for line in page if line.startswith("SHAPES="))
    lines = [line for line in page if line.startswith("trtexec ")]
    sides = dict(re.findall(r"--(\w+)Shapes=images:(\d+x\d+x\d+x3)\b", shapes))
    assert set(sides) == {"min", "opt", "max"} and len(lines) == 2
    for line in lines:
        assert " --stronglyTyped $SHAPES " in line and set(re.findall(r"--(\w+)", line)) <= known


def test_the_runs_behind_the_analyses_were_as_large_as_their_page_says():
    shapes, cells = (
        json.loads((ROOT / f"benchmarks/results/analyses/{name}/ablations.json").read_text(encoding="utf-8"))
        for name in ("shapes", "bccd")
    )
    run, small = shapes["settings"], cells["settings"]
    page = " ".join(text_of(ROOT / "benchmarks/README.md").split())
    steps = run["steps"] // run["epochs"]
    assert f"for {run['epochs']} epochs of {steps} steps of {run['batch_size']} images" in page
    assert f"--train {run['train_images']} --val {run['images']} " in page
    wanted = tomllib.loads((ROOT / "benchmarks/experiments/bccd.toml").read_text(encoding="utf-8"))["size"]
    sizes = "x".join(map(str, small["size"])), "x".join(map(str, wanted))
    assert f"for {small['epochs']} epochs at {sizes[0]} px instead of {sizes[1]}" in page
    without, with_pooling = (row[1] for row in shapes["tables"][0]["rows"])
    assert round(100 * (with_pooling - without)) == 8
    assert "corner pooling, eight points on shapes" in page


def test_the_tiny_network_has_about_a_million_parameters():
    from cornernet.trainer.network.corner_net import CornerNet
    from cornernet.trainer.network.presets import preset

    assert "`tiny` (about a million parameters" in text_of(ROOT / "benchmarks/README.md")
    parameters = sum(parameter.numel() for parameter in CornerNet(preset("tiny", 4)).parameters())
    assert abs(parameters / 1e6 - 1) < 0.05


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_option_that_a_page_names_alone_is_one(page):
    programs = "".join(text_of(path) for path in (ROOT / "benchmarks").rglob("*.py"))
    known = options_of(typer.main.get_command(app)) | set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', programs))
    named = {words.split()[0] for words in inline_code(page) if words.startswith("--")}
    assert named - known == set()


@pytest.mark.parametrize("line", commands("python -m cornernet.benchmarks"))
def test_the_options_of_a_benchmark_that_a_page_shows_are_its_own(line):
    words = shlex.split(line)
    source = text_of(Path(importlib.util.find_spec(words[2]).origin))
    assert [word for word in words[3:] if word.startswith("-") and f'"{word}"' not in source] == []


def test_python_that_the_readme_shows_in_a_line_takes_these_arguments():
    known = {
        "Detector": {*inspect.signature(Detector).parameters, *BackendOptions.__annotations__},
        "Video": set(inspect.signature(Video).parameters),
    }
    seen = 0
    for page in PAGES:
        for words in inline_code(page):
            if re.match(r"(Detector|Video)\(", words):
                call = ast.parse(words, mode="eval").body
                assert {keyword.arg for keyword in call.keywords} <= known[call.func.id], words
                seen += 1
            elif words.startswith("found."):
                assert hasattr(Detections, words.removeprefix("found.").partition("(")[0]), words
                seen += 1
    assert seen > 8 and "keep_images" in inspect.signature(Detector.predict).parameters


def test_numbers_in_the_readmes_sentences_are_those_of_the_code():
    assert f"from the model's own threshold on, {SHOWN} if it has none" in README
    words = ("one", "two", "three", "four", "five")
    assert f"each of its {words[len(COMMANDS) - 1]} commands in minutes" in README


def test_the_operators_of_the_readme_are_those_that_an_exported_file_holds():
    source = text_of(ROOT / "export/translate.py")
    stems = {name.lower() for name in re.findall(r'"Corner(Pool|[A-Z][a-z]+)[A-Za-z]*"', source)}
    (sentence,) = re.findall(r"[^.]*are custom ONNX operators", README)
    assert len(stems) == 4 and all(stem in sentence.lower() for stem in stems)
