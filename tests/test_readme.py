"""The README's commands on a user's own pictures and its Python are run here; its tables equal the committed results.

Not run, only parsed (test_documents.py): the hours of training on photographs, commands that need a file of another
project or a GPU. Not run by any test: `make quickstart` as a whole.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from cornernet.benchmarks import readme_tables as readme
from cornernet.trainer.data.shapes import generate_shapes

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


def test_the_commands_on_your_own_pictures_run_as_written_and_so_does_the_python_after_them(desk):
    own = next(block for block in blocks("bash") if "cornernet train" in block)
    commands = [line for line in own.splitlines() if line.startswith("cornernet ")]
    assert [command.split()[1] for command in commands] == ["train", "export", "predict", "evaluate", "benchmark"]
    daily = next(block for block in blocks("bash") if "clip_found.mp4" in block)
    for command in [*commands, *daily.splitlines()]:
        program, *arguments = shlex.split(command)
        done = subprocess.run([BIN / program, *arguments], cwd=desk, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert len(list((desk / "found").glob("*.jpg"))) == 3 and (desk / "clip_found.mp4").is_file()
    assert (desk / "found/coco.json").is_file() and (desk / "found/labels/classes.txt").is_file()
    (python,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", python], cwd=desk, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_measured_tables_equal_the_committed_results():
    text = README.read_text()
    between = text.partition(readme.BEGIN)[2].partition(readme.END)[0]
    assert between.strip() == readme.render().strip()
