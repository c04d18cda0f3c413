"""The container files line by line, as far as that goes without docker: paths, extras, releases, the commands."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import typer

from cornernet.cli import app

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "engine/serving/containers"
FILES = sorted(FOLDER.glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTRUCTIONS = {"FROM", "ARG", "RUN", "COPY", "WORKDIR", "ENV", "USER", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its words) without comments, lines that go on joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def copied(path: Path) -> list[tuple[list[str], str]]:
    """Sources in the checkout and the target of each COPY."""
    words = [shlex.split(text) for name, text in instructions(path) if name == "COPY"]
    return [(some[:-1], some[-1]) for some in words if not some[0].startswith("--from=")]


each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def test_there_is_one_for_a_cpu_one_for_a_gpu_and_one_for_the_server():
    assert [path.name for path in FILES] == ["cpu.Dockerfile", "gpu.Dockerfile", "triton.Dockerfile"]


@each
def test_each_line_is_an_instruction_and_the_first_builds_on_an_image(path):
    names = [name for name, _ in instructions(path)]
    assert set(names) <= INSTRUCTIONS
    assert next(name for name in names if name != "ARG") == "FROM"
    assert names.count("CMD") == 1


@each
def test_everything_that_is_copied_exists_and_is_what_the_package_is_made_of(path):
    sources = [source for some, _ in copied(path) for source in some]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    links = {link.name for link in (ROOT / "cornernet").iterdir() if link.is_symlink()}
    assert links | {
        "cornernet",
        "pyproject.toml",
        "CMakeLists.txt",
        PROJECT["readme"],
        *PROJECT["license-files"],
    } == set(sources)


@each
def test_a_stage_that_is_copied_from_was_named_before(path):
    stages = []
    for name, text in instructions(path):
        if name == "FROM" and " AS " in text:
            stages.append(text.rpartition(" AS ")[2])
        if name == "COPY" and text.startswith("--from="):
            assert text.split()[0].removeprefix("--from=") in stages


def pip_words(path: Path) -> list[str]:
    """What is installed, over all calls of pip, without options."""
    (line,) = [text for name, text in instructions(path) if name == "RUN" and "pip install" in text]
    calls = [part.partition("pip install")[2] for part in line.split("&&") if "pip install" in part]
    return [word for call in calls for word in shlex.split(call) if not word.startswith("-")]


@pytest.mark.parametrize("path", FILES[:2], ids=lambda path: path.name)
def test_what_pip_installs_are_extras_and_requirements_of_the_project(path):
    own, *others = pip_words(path)
    extras = re.fullmatch(r"\.(?:\[([\w,]+)\])?", own)[1]
    assert set((extras or "").split(",")) - {""} <= PROJECT["optional-dependencies"].keys()
    known = {requirement for some in PROJECT["optional-dependencies"].values() for requirement in some}
    assert set(others) <= known


def test_the_servers_python_gets_what_make_triton_check_runs_with():
    *packages, own = pip_words(FILES[2])
    assert own == "."
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ntriton-check:")[2].partition("\n\n")[0]
    assert all(f"'{package}'" in makefile or f" {package}\n" in makefile for package in packages)
    # The engine's own needs, which are the project's without those of the command line.
    needs = {re.match(r"[\w-]+", requirement)[0] for requirement in PROJECT["dependencies"]} - {"typer", "rich"}
    assert {re.match(r"[\w-]+", package)[0] for package in packages} == needs


@each
def test_what_it_starts_exists(path):
    given = dict(instructions(path))
    words = [word for name in ("ENTRYPOINT", "CMD") for word in re.findall(r'"([^"]+)"', given.get(name, ""))]
    if words[0] == "tritonserver":
        return
    assert words[0] in PROJECT["scripts"]
    verb = words[1]
    assert verb == "--help" or verb in typer.main.get_command(app).commands


def test_both_images_of_nvidia_are_of_one_release():
    releases = {re.search(r"ARG RELEASE=(\d\d\.\d\d)", path.read_text(encoding="utf-8"))[1] for path in FILES[1:]}
    assert len(releases) == 1
    for path, image in zip(FILES[1:], ("tensorrt", "tritonserver")):
        (line,) = [text for name, text in instructions(path) if name == "FROM"]
        assert line == f"nvcr.io/nvidia/{image}:${{RELEASE}}-py3"


def test_the_python_of_the_cpu_image_is_one_that_tests_run_on():
    images = [text.split()[0] for name, text in instructions(FILES[0]) if name == "FROM"]
    assert len(set(images)) == 1
    version = re.fullmatch(r"python:([\d.]+)-slim", images[0])[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


@each
def test_the_commands_in_its_comments_name_the_file_itself_and_verbs_that_exist(path):
    text = path.read_text(encoding="utf-8")
    assert f"docker build --file {path.relative_to(ROOT)} --tag cornernet:{path.stem} ." in text
    for command in re.findall(r"docker run .* cornernet:\w+ (.*)", text):
        verb, *words = shlex.split(command)
        typer.main.get_command(app).commands[verb].make_context(verb, words).close()


def test_the_compose_file_starts_the_servers_image_with_the_repository_it_looks_for():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML (extra `cluster` brings it)")
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    triton, gpu = services["triton"], services["triton-gpu"]
    assert f"--file {(FOLDER / 'compose.yaml').relative_to(ROOT)} up triton" in text
    assert (ROOT / triton["build"]["context"] / triton["build"]["dockerfile"]).is_file()
    assert triton["image"] == "cornernet:triton"
    (volume,) = triton["volumes"]
    assert volume.endswith(":/repository:ro")
    assert "--model-repository=/repository" in dict(instructions(FILES[2]))["CMD"]
    assert all(port.startswith("127.0.0.1:") for port in triton["ports"])
    assert gpu["extends"] == {"service": "triton"}
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES[:1], ids=lambda path: path.name)
def test_what_is_copied_is_enough_to_install_the_package(path, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for some, target in copied(path):
        for name in some:
            if (ROOT / name).is_dir():  # docker copies links inside a folder as links
                shutil.copytree(ROOT / name, source / target, symlinks=True)
            else:
                shutil.copy(ROOT / name, source / target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"cornernet/cli.py", "cornernet/engine/detector.py", "cornernet/export/triton/triton_repository.py"} <= set(
        names
    )
