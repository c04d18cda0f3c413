"""The wheel and the sdist hold what they should, and the wheel predicts where there is no torch."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from cornernet.engine.native import LIBRARY_NAME

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "engine", "export", "plugins", "trainer")

PREDICT = """
import importlib.util, sys
for name in ("torch", "onnx", "matplotlib", "pycocotools"):
    assert importlib.util.find_spec(name) is None, name
import numpy as np
from cornernet import Detector
with Detector(sys.argv[1], resize="fit") as detector:
    found = detector.predict([np.zeros((80, 100, 3), np.uint8)] * 3)
assert [one.error for one in found] == [None] * 3, found
print("predicted")
"""


def build_wheel(source: Path, folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    settings = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=settings)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("cornernet-*.whl")
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("cornernet-*.tar.gz")
    return file


@pytest.fixture(scope="module")
def committed() -> list[Path]:
    """Files of the checkout that git knows or would take, links too, relative to the root."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"the list of files is git's: {done.stderr.strip()}")
    return [Path(name) for name in done.stdout.split("\0") if name and os.path.lexists(ROOT / name)]


def installed_name(path: Path) -> str:
    return f"cornernet/{path}" if path.parts[0] in FOLDERS else str(path)


def contents(archive: Path) -> dict[str, bytes]:
    """Name -> content of each file; a name that is there twice fails."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            assert len(file.namelist()) == len(set(file.namelist()))
            return {name: file.read(name) for name in file.namelist()}
    with tarfile.open(archive) as file:
        members = file.getmembers()
        assert all(member.isfile() for member in members)
        found = {member.name.partition("/")[2]: file.extractfile(member).read() for member in members}
        assert len(found) == len(members)
        return found


def test_the_wheel_is_the_package_each_file_once_and_nothing_else(wheel, committed):
    expected = {
        installed_name(path): (ROOT / path).read_bytes()
        for path in committed
        if path.parts[0] in ("cornernet", *FOLDERS)
        and path.parts[:2] != ("benchmarks", "results")
        and not (ROOT / path).is_symlink()
    }
    found = {name: content for name, content in contents(wheel).items() if ".dist-info/" not in name}
    compiled = found.pop(f"cornernet/engine/native/{LIBRARY_NAME}", None)
    assert (compiled is not None) == (shutil.which("c++") is not None)
    assert found.keys() == expected.keys()
    assert found == expected
    assert {"cornernet/py.typed", "cornernet/plugins/kernels/corner_pool.cu"} <= found.keys()


def test_the_sdist_is_the_checkout_each_file_once(sdist, committed):
    expected = {
        installed_name(path): (ROOT / path).read_bytes()
        for path in committed
        if path.parts[0] != ".ci" and not (ROOT / path).is_symlink()
    }
    found = contents(sdist)
    del found["PKG-INFO"]
    assert found.keys() == expected.keys()
    assert found == expected


def test_the_sdist_gives_the_same_wheel_as_the_checkout(wheel, sdist, tmp_path):
    assert contents(build_wheel(sdist, tmp_path)) == contents(wheel)


@pytest.fixture
def checkout_without_links(committed, tmp_path) -> Path:
    """What git makes where it may not make links: small text files that hold where the link would lead."""
    folder = tmp_path / "checkout"
    for path in committed:
        source, target = ROOT / path, folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(str(source.readlink()).encode() if source.is_symlink() else source.read_bytes())
    assert (folder / "cornernet" / "engine").read_text() == "../engine"
    return folder


def test_without_a_compiler_the_wheel_is_the_same_but_for_the_library(wheel, tmp_path):
    """What the build needs is there, but for compilers."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cmake", "ninja", "make", "git", "sh", "uname", "env"):
        if (path := shutil.which(name)) is not None:
            (tools / name).symlink_to(path)
    plain = contents(build_wheel(ROOT, tmp_path, PATH=str(tools)))
    with_library = contents(wheel)
    with_library.pop(f"cornernet/engine/native/{LIBRARY_NAME}", None)
    record = next(name for name in plain if name.endswith("/RECORD"))
    assert {**plain, record: b""} == {**with_library, record: b""}


def import_in(folder: Path) -> subprocess.CompletedProcess[str]:
    # -I -S: neither the folder the test runs in nor an installed cornernet may answer instead.
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import cornernet"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)


def test_a_checkout_without_links_says_so_and_so_does_what_is_installed_from_it(checkout_without_links, tmp_path):
    zipfile.ZipFile(build_wheel(checkout_without_links, tmp_path)).extractall(tmp_path / "installed")
    for place in (checkout_without_links, tmp_path / "installed"):
        done = import_in(place)
        assert done.returncode == 1
        *_, said = done.stderr.splitlines()
        assert said.startswith(f"ImportError: {place / 'cornernet' / 'benchmarks'} is no folder")
        assert "without symbolic links" in said
        assert "git clone -c core.symlinks=true" in said


@pytest.mark.slow
def test_prediction_works_in_a_fresh_environment_without_torch(wheel, tmp_path):
    from cornernet.engine.model_card import ModelCard
    from cornernet.export.onnx_export import export_onnx
    from cornernet.trainer.network.corner_net import CornerNet
    from cornernet.trainer.network.presets import preset

    network = CornerNet(preset("tiny", 2)).eval()
    card = ModelCard(
        name="tiny",
        class_names=("a", "b"),
        category_ids=(1, 2),
        size_multiple=network.config.size_multiple,
        train_size=(128, 128),
    )
    export_onnx(network, card, tmp_path / "model.onnx")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"the package registry cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [python, "-c", PREDICT, tmp_path / "model.onnx"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "predicted"
