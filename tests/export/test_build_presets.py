"""The exported network of each preset, random weights, through a real TensorRT parser and builder (no GPU: not run)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from operators_onnx import OPERATORS
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.backends import trt_api
from cornernet.engine.backends.engine_card import read_engine_card
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.export.build import build_engine
from cornernet.export.onnx_export import build_model, deployed_card
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES, preset

pytestmark = pytest.mark.skipif(
    "tensorrt_rtx" not in trt_api.available_flavours(), reason="needs tensorrt-rtx: pip install '.[rtx]'"
)

QUICK = {("tiny", "fp32"), ("tiny", "fp16"), ("squeeze", "fp16")}

PRESETS = [
    pytest.param(
        (name, precision), id=f"{name}-{precision}", marks=[] if (name, precision) in QUICK else [pytest.mark.slow]
    )
    # saccade has the layers of saccade-tiny, and takes many times its time
    for name in ("tiny", "squeeze", "hourglass-104", "saccade-tiny")
    for precision in ("fp32", "fp16")
    if (name, precision) != ("saccade-tiny", "fp32")
]


@pytest.fixture(scope="module", params=PRESETS)
def exported(request, tmp_path_factory) -> tuple[str, str, Path]:
    """The graph as the exporter makes it, without its comparison with torch: that is tested elsewhere."""
    name, precision = request.param
    config = preset(name, 3)
    torch.manual_seed(0)
    classes = {"class_names": ("a", "b", "c"), "category_ids": (1, 2, 3)}
    sizes = {"stride": config.stride, "size_multiple": config.size_multiple, "max_size": 512}
    if config.attention:
        sizes |= {"saccade": PRESET_SACCADES[name], "train_size": (256, 256), "decoder": PRESET_DECODERS[name]}
    network = CornerNet(config).eval()
    card = deployed_card(network, ModelCard(name=name, **classes, **sizes), precision=precision)
    path = tmp_path_factory.mktemp("preset") / "model.onnx"
    onnx.save(build_model(network, card), path)
    return name, precision, path


@pytest.mark.parametrize("targets", [("sm_75",), ("sm_86",), ("sm_89", "sm_120")], ids="+".join)
def test_the_exported_preset_builds_from_standard_operators(exported, targets):
    name, precision, path = exported
    card = build_engine(path, path.with_suffix(".engine"), plugins=None, targets=targets, cache=None).card
    assert card.card.name == name and card.card.precision == precision
    levels = 3 * name.startswith("saccade")
    assert (card.layers["POOLING"], card.layers["TOPK"], card.operators) == (14 + levels, 3 + levels, {})
    assert ("HALF" in card.precisions) == (precision == "fp16")
    profile = card.profiles[0]
    if levels:
        assert str(profile) == "1x256x256,8x256x256,32x256x256"  # the one canvas of views and crops
    else:
        assert profile.min[0] == 1 and profile.max == (8, 512, 512)


def test_a_saccade_builds_for_canvases_that_are_not_rounded_and_no_other_network_does(exported, tmp_path):
    name, _, path = exported
    options = {"plugins": None, "targets": ["sm_89"], "cache": None, "float_canvases": True}
    if not name.startswith("saccade"):
        with pytest.raises(ModelError, match=r"--float-canvases: .*made for uint8 canvases"):
            build_engine(path, tmp_path / "floats.engine", **options)
        return
    card = build_engine(path, tmp_path / "floats.engine", **options).card
    assert read_engine_card(tmp_path / "floats.engine") == card and card.float_canvases
    assert " --float-canvases " in card.rebuild_command(tmp_path / "floats.engine")
    facts = CliRunner().invoke(app, ["info", str(tmp_path / "floats.engine")], env={"COLUMNS": "200"})
    assert "bgr float32; sides" in facts.output


@pytest.mark.tensorrt
@pytest.mark.skipif(
    trt_api.find_plugin_library() is None,
    reason="needs libcornernet_plugins.so (cmake -B build && cmake --build build) or CORNERNET_PLUGINS_LIBRARY",
)
def test_the_same_file_builds_with_our_plugins(exported):
    name, precision, path = exported
    output = path.with_name("plugins.engine")
    cornernet = Path(sys.executable).with_name("cornernet")
    command = [cornernet, "build", path, "-o", output, "--target", "sm_89", "--no-cache"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    card = json.loads(output.with_name("plugins.engine.json").read_text())
    operators = OPERATORS | {"CornerWindows": 2}
    assert card["operators"] == operators
    assert card["layers"]["PLUGIN_V3"] == sum(operators.values())
    assert card["layers"].get("TOPK", 0) == 3 * name.startswith("saccade")  # attention is chosen by standard operators
    assert ("HALF" in card["precisions"]) == (precision == "fp16")
