"""`cornernet info` of every kind of file."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from fake_backends import make_card
from typer.testing import CliRunner

from cornernet.cli import app


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def test_info_of_an_onnx_file_shows_card_operators_and_size(model):
    result = run("info", model)
    assert result.exit_code == 0, result.output
    for words in ("bright, other", "128x128", "37 standard", "cornernet 9.9", "ONNX", "ai.onnx 17"):
        assert words in result.stdout
    content = json.loads(run("info", model, "--json").stdout)
    assert content["card"]["class_names"] == ["bright", "other"]
    assert content["standard_operators"]["Constant"] == 9


def test_info_counts_custom_operators(tmp_path):
    from toy_onnx import write_toy

    content = json.loads(run("info", write_toy(tmp_path / "toy.onnx"), "--json").stdout)
    assert content["custom_operators"] == {"CornerPoolTopLeft": 1}
    assert content["parameters"] == 8 * 3 * 3 * 3


def test_info_of_a_checkpoint_needs_no_torch(tmp_path):
    from safetensors.numpy import save_file

    from cornernet.engine.model_card import METADATA_KEY

    card = make_card(parameters=6, gmacs={"511x511": 1.25})
    save_file({"w": np.zeros((2, 3), np.float32)}, tmp_path / "w.safetensors", metadata={METADATA_KEY: card.to_json()})
    code = f"""
import sys
for name in ("torch", "onnx", "onnxruntime", "onnxscript"):
    sys.modules[name] = None  # importing it fails
from cornernet.cli import app
app(["info", {str(tmp_path / "w.safetensors")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint of 1 tensors" in done.stdout and "1.2 GMAC at 511x511" in done.stdout


@pytest.mark.parametrize("name", ["gone.onnx", "gone.safetensors", "gone.engine"])
def test_info_of_a_missing_file_is_one_line(tmp_path, name):
    result = run("info", tmp_path / name)
    assert result.exit_code == 1
    assert name in result.stderr


def test_info_of_a_damaged_checkpoint_is_one_line(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x08")
    assert run("info", tmp_path / "w.safetensors").exit_code == 1


def test_info_of_a_file_damaged_anywhere_answers_or_is_one_line(model):
    whole, chance = model.read_bytes(), random.Random(2)
    for name in (b"Greater", b"ReduceMax"):
        model.write_bytes(whole.replace(name, b"\xff" * len(name), 1))
        assert run("info", model).exit_code == 0
    for _ in range(40):
        place = chance.randrange(len(whole))
        model.write_bytes(whole[:place] + bytes([chance.randrange(256)]) + whole[place + 1 :])
        result = run("info", model, "--json")
        assert result.exit_code in (0, 1) and not isinstance(result.exception, Exception)
