"""The wheel holds what it should, and predicts where there is no torch."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PREDICT = """
import importlib.util, sys
assert importlib.util.find_spec("torch") is None
import numpy as np
from cornernet import Detector
with Detector(sys.argv[1], resize="fit") as detector:
    found = detector.predict([np.zeros((80, 100, 3), np.uint8)] * 3)
assert [one.error for one in found] == [None] * 3, found
print("predicted")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("cornernet-*.whl")
    return file


def test_the_wheels_top_level_is_cornernet_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"cornernet"}
    assert {
        "cornernet/__init__.py",
        "cornernet/py.typed",
        "cornernet/engine/detector.py",
        "cornernet/trainer/loop/train.py",
        "cornernet/export/onnx_export.py",
        "cornernet/plugins/__init__.py",
        "cornernet/benchmarks/latency/benchmark.py",
        "cornernet/benchmarks/ablations/full.toml",
    } <= set(names)


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
