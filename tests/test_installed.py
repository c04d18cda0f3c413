"""A user's environment: the README's install, its snippet, and what a type checker sees, inside and outside a clone."""

import os
import re
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_backends import make_card, write_onnx

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

SCRIPT = """
from cornernet import Detector, read_image

reveal_type(read_image)
reveal_type(Detector("model.onnx").predict("photos/"))
Detector("model.onnx").predict("photos/", batch_size="eight")
"""


def environment(folder: Path) -> Path:
    """A virtual environment that also sees the packages of this one, but not its cornernet; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).stdout.strip())
    # A line in a .pth file names a folder; .pth files in that folder, such as an editable cornernet's, are not read.
    (site / "neighbour.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(command: list, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=120)


def install(python: Path, *arguments: str) -> None:
    """pip install in the repository, with the packages that are here: nothing is downloaded."""
    offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
    done = run([python, "-m", "pip", "install", *offline, *arguments], ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    python = environment(tmp_path_factory.mktemp("installed"))
    (line,) = re.findall(r"^pip install '(\.\[cpu,train\])'", README, re.MULTILINE)
    install(python, line)
    return python


@pytest.fixture(scope="module")
def editable(tmp_path_factory) -> Path:
    python = environment(tmp_path_factory.mktemp("editable"))
    install(python, "--editable", ".")
    return python


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    return environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def desk(tmp_path) -> Path:
    write_onnx(tmp_path / "model.onnx", make_card())
    (tmp_path / "photos").mkdir()
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:30, 20:40] = 255
    assert cv2.imwrite(str(tmp_path / "photos" / "square.png"), picture)
    return tmp_path


def home_of_the_package(python: Path, cwd: Path) -> Path:
    done = run([python, "-c", "import cornernet; from cornernet import Detector; print(cornernet.__file__)"], cwd)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).parent


def test_without_an_install_only_the_clones_root_has_the_package(bare, tmp_path):
    assert home_of_the_package(bare, ROOT) == ROOT / "cornernet"
    done = run([bare, "-c", "import cornernet"], tmp_path)
    assert "ModuleNotFoundError" in done.stderr


def test_an_ordinary_install_imports_everywhere_and_the_clones_root_does_not_break_it(installed, tmp_path):
    assert home_of_the_package(installed, tmp_path).is_relative_to(installed.parents[1])
    assert home_of_the_package(installed, ROOT) == ROOT / "cornernet"
    done = run([installed.parent / "cornernet", "--version"], ROOT)
    assert done.returncode == 0, done.stderr


def test_an_editable_install_is_the_clone_everywhere(editable, tmp_path):
    assert home_of_the_package(editable, tmp_path) == ROOT / "cornernet"
    assert home_of_the_package(editable, ROOT) == ROOT / "cornernet"


@pytest.mark.parametrize("place", ["clone", "elsewhere"])
@pytest.mark.parametrize("way", ["installed", "editable"])
def test_the_module_is_the_command(way, place, request, tmp_path):
    python = request.getfixturevalue(way)
    done = run([python, "-m", "cornernet", "--version"], ROOT if place == "clone" else tmp_path)
    assert re.fullmatch(r"cornernet \d+\.\d+\.\d+", done.stdout.strip()), done.stderr


def test_the_readmes_python_runs_after_the_readmes_install(installed, desk):
    (python,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run([installed, "-c", python], desk)
    assert done.returncode == 0, done.stderr
    assert "square.png" in done.stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize(("way", "place"), [("bare", "clone"), ("editable", "elsewhere"), ("installed", "elsewhere")])
def test_a_type_checker_resolves_the_package_and_reports_a_wrong_call(way, place, request, tmp_path, cache):
    python = request.getfixturevalue(way)
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).lstrip())
    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", cache, "--python-executable", python]
    done = run([*command, script], ROOT if place == "clone" else tmp_path)
    said = [line.partition("script.py:")[2] for line in done.stdout.splitlines() if "script.py:" in line]
    lines = [line for line in said if "Revealed" in line or "error:" in line]  # notes list what was possible
    assert len(lines) == 3, done.stdout + done.stderr
    assert "-> np.ndarray" in lines[0] or "numpy.ndarray" in lines[0]
    assert 'Revealed type is "list[cornernet.engine.results.detections.Detections]"' in lines[1]
    assert 'No overload variant of "predict" of "Detector" matches argument types "str", "str"' in lines[2]
