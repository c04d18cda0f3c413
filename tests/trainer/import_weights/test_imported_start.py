"""A training of `saccade` that starts from an imported file: written as the official one is, every layer narrower."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from lively_network import lively_network
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.import_weights.key_names import Origin, our_name
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.train import train
from cornernet.trainer.network import presets
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.presets import preset

# Of fewer than 16 channels PyTorch 2.13 on a CPU gets the gradient of a 1x1 convolution with stride 2 by writing beyond
# its memory, where channels lie last.
NARROW = {
    "dims": (16, 24, 24, 32),
    "stem_channels": (16, 16),
    "feature_channels": 16,
    "pool_channels": 8,
    "head_channels": 16,
}


@pytest.fixture(scope="module")
def narrow():
    """`saccade`, its stacks and modules as published, with few channels in each."""
    published = presets.PRESETS["saccade"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "saccade", lambda classes: replace(published(classes), **NARROW))
        yield lively_network(preset("saccade", 80))


@pytest.fixture(scope="module")
def official(narrow, golden, tmp_path_factory):
    """CornerNet_Saccade_500000.pkl: the official names, all of them, in their order."""
    keys = json.loads((golden / "f_network/saccade_state_dict_keys.json").read_text())["keys"]
    own = narrow.state_dict()
    state = {name: own[our_name(name.removeprefix("module."), Origin.LITE_SACCADE)] for name, _, _ in keys}
    assert len(state) == len(own) and all(name.startswith("module.") for name in state)
    path = tmp_path_factory.mktemp("official") / "CornerNet_Saccade_500000.pkl"
    torch.save(state, path)
    return path


def test_a_training_starts_from_imported_weights_of_a_saccade_and_says_what_was_taken(
    official, narrow, tmp_path, caplog
):
    imported = tmp_path / "saccade.safetensors"
    told = CliRunner().invoke(app, ["import", str(official), "-o", str(imported)], env={"COLUMNS": "200"})
    assert told.exit_code == 0 and "CornerNet-Saccade of CornerNet-Lite" in told.output, told.output
    data = load_coco(generate_shapes(tmp_path / "shapes", train=2, val=0, seed=3, size=(160, 200)), "train")
    config = TrainConfig(batch_size=2, epochs=1, workers=0, learning_rate=1e-12, freeze_batch_norm=True)
    caplog.set_level(logging.INFO)
    train(config, data, None, tmp_path / "run", init=imported, device="cpu", quiet=True)
    total = len(narrow.state_dict())
    heads = 2 * 2 * narrow.config.stacks  # weight and bias of both corners' heatmaps, of every stack
    assert f"{total - heads} of {total} entries taken; new: heatmap heads, 80 -> 3 classes" in caplog.text
    network, card = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert network.config == replace(narrow.config, num_classes=3) and card.class_names == data.class_names
    assert card.train_size == (255, 255) and card.saccade == presets.PRESET_SACCADES["saccade"]
    assert card.trained_mirror == "edges"  # this training's own
    before, after = narrow.state_dict(), network.state_dict()
    kept = [name for name in before if ".heatmap.1." not in name]
    assert any(name.startswith("attention.2.small") for name in kept) and len(kept) == total - heads
    for name in kept:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0, msg=name)
