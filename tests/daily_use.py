"""The command line on a folder of small photographs: what the tests of predict share."""

import json

import cv2
import pytest
from fake_backends import make_card, picture, write_onnx
from typer.testing import CliRunner

from cornernet.cli import app

BOX = (10, 20, 60, 90)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def done(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128)))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), picture(100, 120, BOX if number % 2 else None))
    cv2.imwrite(str(folder / "deep" / "7.png"), picture(100, 120, BOX))
    return folder
