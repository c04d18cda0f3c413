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
    return folder


def test_the_commands_on_your_own_pictures_run_as_written_and_so_does_the_python_after_them(desk):
    own = next(block for block in blocks("bash") if "cornernet train" in block)
    commands = [line for line in own.splitlines() if line.startswith("cornernet ")]
    assert [command.split()[1] for command in commands] == ["train", "export", "predict", "evaluate", "benchmark"]
    for command in commands:
        program, *arguments = shlex.split(command)
        done = subprocess.run([BIN / program, *arguments], cwd=desk, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert len(list((desk / "found").glob("*.jpg"))) == 3
    (python,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", python], cwd=desk, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_measured_tables_equal_the_committed_results():
    text = README.read_text()
    between = text.partition(readme.BEGIN)[2].partition(readme.END)[0]
    assert between.strip() == readme.render().strip()
    page = readme.LADDER_PAGE.read_text()
    for begin, end, render in (
        (readme.PIPELINE_BEGIN, readme.PIPELINE_END, readme.render_pipeline),
        (readme.LADDER_BEGIN, readme.LADDER_END, readme.render_ladder),
    ):
        assert page.partition(begin)[2].partition(end)[0].strip() == render().strip()


def test_the_ladder_equals_its_committed_results():
    text = readme.LADDER_PAGE.read_text(encoding="utf-8")
    between = text.partition(readme.LADDER_BEGIN)[2].partition(readme.LADDER_END)[0]
    assert between.strip() == readme.render_ladder().strip()
