"""The README's commands on a user's own pictures and its Python are run here; its tables equal the committed results.

Not run, only parsed (test_documents.py): the hours of training on photographs, commands that need a file of another
project or a GPU. In place of the published weights a file with their makers' names and shapes is fetched, from a server
on this machine. Not run by any test: `make quickstart` as a whole.
"""

import contextlib
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import oracles_network
import pytest
import torch
from dataset_layouts import WRITERS
from file_server import serving
from typer.testing import CliRunner

from cornernet.benchmarks import readme_tables as readme
from cornernet.cli import app
from cornernet.engine.datasets.layouts import LAYOUTS
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.import_weights.published import PUBLISHED, Published

README = Path(__file__).parents[1] / "README.md"
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A user's folder: a small data set of their own, and photos."""
    folder = tmp_path_factory.mktemp("desk")
    generate_shapes(folder / "data" / "mine", train=8, val=3, test=3, size=(128, 128))
    (folder / "photos").mkdir()
    for picture in sorted((folder / "data" / "mine" / "images").glob("test_*")):
        shutil.copy(picture, folder / "photos")
    clip = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 128))
    for picture in sorted((folder / "photos").iterdir()):
        clip.write(cv2.resize(cv2.imread(str(picture)), (128, 128)))
    clip.release()
    return folder


def test_the_commands_that_look_at_a_data_set_run_as_written_on_every_layout_of_the_table(tmp_path):
    table = README.read_text().partition("| layout | what lies there |")[2].partition("\n\n")[0]
    named = {line.split("|")[1].strip() for line in table.splitlines()[2:]}
    assert named == {layout.name for layout in LAYOUTS}
    own = next(block for block in blocks("bash") if "cornernet dataset" in block)
    commands = [shlex.split(line) for line in own.splitlines()]
    assert [words[1] for words in commands] == ["dataset", "convert"]
    for number, (name, write) in enumerate(WRITERS.items()):
        folder = tmp_path / str(number)
        write(folder / "data/mine")
        for words in commands:
            with contextlib.chdir(folder):
                result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{name}: {result.output}"
        assert (folder / "report/dataset.html").is_file() and (folder / "data/yolo/data.yaml").is_file()
    marks = " ".join(layout.marks for layout in LAYOUTS)
    assert all(word in table for word in re.findall(r"[\w<>./*]+\.(?:json|yaml|xml|txt)", marks))


def test_the_commands_on_your_own_pictures_run_as_written_and_so_does_the_python_after_them(desk):
    own = next(block for block in blocks("bash") if "cornernet train" in block)
    commands = [line for line in own.splitlines() if line.startswith("cornernet ")]
    assert [command.split()[1] for command in commands] == [
        "train",
        "export",
        "predict",
        "evaluate",
        "benchmark",
        "report",
    ]
    daily = next(block for block in blocks("bash") if "clip_found.mp4" in block)
    for command in [*commands, *daily.splitlines()]:
        program, *arguments = shlex.split(command, comments=True)
        done = subprocess.run([BIN / program, *arguments], cwd=desk, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert len(list((desk / "found").glob("*.jpg"))) == 3 and (desk / "clip_found.mp4").is_file()
    assert (desk / "found/coco.json").is_file() and (desk / "found/labels/classes.txt").is_file()
    assert "Causes of errors" in (desk / "report.html").read_text(encoding="utf-8")
    (python,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", python], cwd=desk, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_three_commands_with_published_weights_run_as_written(golden, tmp_path, monkeypatch):
    """With CornerNet-Squeeze, an eighth of Hourglass-104, and the weights of a recipe."""
    keys = json.loads((golden / "f_network" / "squeeze_state_dict_keys.json").read_text(encoding="utf-8"))["keys"]
    state = {
        name: torch.from_numpy(oracles_network.fill(name.removeprefix("module."), shape)) for name, shape, _ in keys
    }
    torch.save(state, tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    own = next(block for block in blocks("bash") if "cornernet import" in block)
    commands = [shlex.split(line)[1:] for line in own.splitlines()]
    assert [words[0] for words in commands] == ["import", "export", "predict"]
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((120, 200, 3), 90, np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(content) as server:
        entry = Published(server.url, hashlib.sha256(content).hexdigest(), len(content), 0, "", "")
        monkeypatch.setitem(PUBLISHED, commands[0][1], entry)
        for words in commands:
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.output
    assert (tmp_path / "found/photo.jpg").is_file()


def test_measured_tables_equal_the_committed_results():
    text = README.read_text()
    between = text.partition(readme.BEGIN)[2].partition(readme.END)[0]
    assert between.strip() == readme.render().strip()
    page = readme.LADDER_PAGE.read_text()
    for begin, end, render in (
        (readme.PIPELINE_BEGIN, readme.PIPELINE_END, readme.render_pipeline),
        (readme.LADDER_BEGIN, readme.LADDER_END, readme.render_ladder),
        (readme.SIZES_BEGIN, readme.SIZES_END, readme.render_sizes),
    ):
        assert page.partition(begin)[2].partition(end)[0].strip() == render().strip()


def test_the_ladder_equals_its_committed_results():
    text = readme.LADDER_PAGE.read_text(encoding="utf-8")
    between = text.partition(readme.LADDER_BEGIN)[2].partition(readme.LADDER_END)[0]
    assert between.strip() == readme.render_ladder().strip()


def test_no_stage_in_the_table_takes_longer_than_the_whole():
    table = README.read_text().partition("| model | batch | read |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert rows
    for _, _, read, place, run, post, whole, *_ in rows:
        assert max(map(float, (read, place, run, post))) < float(whole)
