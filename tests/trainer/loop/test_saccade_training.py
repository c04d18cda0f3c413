"""A CornerNet-Saccade through the loop: what a run leaves, how it goes on, what it learns."""

import json
from dataclasses import replace

import pytest
import torch

from cornernet.engine.detector import Detector
from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.crop import CropConfig
from cornernet.trainer.data.dataset import CornerDataset
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.method import method_of
from cornernet.trainer.loop.resume_file import load_resume
from cornernet.trainer.loop.state import TrainState
from cornernet.trainer.loop.train import train
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.presets import PRESET_SACCADES

SMALL = {"preset": "saccade-tiny", "size": (63, 63), "batch_size": 3, "workers": 0, "log_every": 1}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return generate_shapes(folder, train=6, val=2, seed=4, size=(96, 96), vary=0.1, objects=(5, 55))


def run(shapes, output, *, resume=False, init=None, validate=False, **changes):
    config = TrainConfig(**(SMALL | changes))
    val = load_coco(shapes, "val") if validate else None
    return train(config, load_coco(shapes, "train"), val, output, resume=resume, init=init, device="cpu", quiet=True)


def weights(output):
    return load_resume(output / "last.pt")["network"]


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory):
    """A run of two epochs with validation."""
    output = tmp_path_factory.mktemp("runs") / "run"
    run(shapes, output, epochs=2, validate=True, validate_every=2)
    return output


def test_a_run_leaves_a_card_that_says_how_to_look_twice(trained):
    network, card = load_checkpoint(trained / "last.safetensors")
    assert network.config.attention and card.train_size == (63, 63)
    assert card.saccade.view_sizes == (48, 63) and card.saccade.reference_bounds == (24, 8)
    assert card.decoder.reject_border and card.decoder.top_k == 12
    assert (trained / "best.safetensors").is_file() and (trained / "losses.png").is_file()
    with Detector(trained / "last.safetensors") as detector:
        assert detector.card.saccade == card.saccade


def test_the_metrics_have_every_term_and_the_ap_of_what_is_deployed(trained):
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    assert len(losses) == 4 and any("AP" in row for row in rows)
    for row in losses:
        terms = sum(row[name] for name in ("focal", "pull", "push", "offset", "attention"))
        assert row["loss"] == pytest.approx(terms, rel=1e-4) and row["attention"] > 0


def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(shapes, trained, tmp_path):
    run(shapes, tmp_path / "parts", epochs=1)
    run(shapes, tmp_path / "parts", epochs=2, resume=True)
    # The schedule looks ahead: both had the same rate, because a step schedule of 1 or 2 epochs ends likewise.
    whole, parts = weights(trained), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_from_before_a_setting_existed_had_its_default(trained):
    saved = load_resume(trained / "last.pt")
    network, card = load_checkpoint(trained / "last.safetensors")
    del saved["config"]["crops"]
    for crops in (CropConfig(), CropConfig(free=0.5)):
        config = TrainConfig(**SMALL, epochs=2, crops=crops)
        state = TrainState(config, network, torch.device("cpu"), card=card, steps_per_epoch=2)
        if crops == CropConfig():
            state.restore(saved)
            assert state.step == 4
        else:
            with pytest.raises(TrainingError, match="cannot resume: crops differ"):
                state.restore(saved)


def test_fine_tuning_takes_over_the_network_the_canvas_and_how_it_looks(shapes, trained, tmp_path):
    changes = {key: value for key, value in SMALL.items() if key not in ("preset", "size")}
    config = TrainConfig(**changes, epochs=1, learning_rate=1e-12, freeze_batch_norm=True)
    train(config, load_coco(shapes, "train"), None, tmp_path / "next", init=trained / "last.safetensors",
          device="cpu", quiet=True)  # fmt: skip
    (_, card), (_, before) = (load_checkpoint(folder / "last.safetensors") for folder in (tmp_path / "next", trained))
    assert (card.saccade, card.train_size) == (before.saccade, before.train_size)
    first, second = weights(trained), weights(tmp_path / "next")
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-6) for name in first)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": (63, 95)}, "square"),
        ({"size": (72, 72)}, "multiple of 32"),
        ({"augment": {"scales": (1.0,)}}, r"augment\.scales"),
        ({"preset": "tiny", "size": (64, 64), "crops": {"free": 0.5}}, "crops"),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(shapes, tmp_path, changes, said):
    with pytest.raises(TrainingError, match=said):
        run(shapes, tmp_path / "run", epochs=1, **changes)


def test_without_a_size_the_canvas_is_the_presets(shapes, tmp_path):
    config, data = TrainConfig(preset="saccade-tiny", batch_size=2, epochs=1), load_coco(shapes, "train")
    train(config, replace(data, samples=data.samples[:2]), None, tmp_path / "run", device="cpu", quiet=True)
    _, card = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert card.train_size == (127, 127) and card.saccade == PRESET_SACCADES["saccade-tiny"]


@pytest.mark.slow
def test_a_few_pictures_are_learnt_by_heart_where_to_look_too(shapes, tmp_path):
    """Always the same four pictures, shown whole: the loss falls, and attention is there where it is asked for."""
    data = load_coco(shapes, "train")
    data = replace(data, samples=data.samples[:4])
    still = {"crops": {"views": 1.0}, "augment": {"flip": 0, "colour": 0, "lighting": 0}}
    config = TrainConfig(**SMALL | still | {"batch_size": 4, "epochs": 160, "learning_rate": 5e-3, "gradient_clip": 10,
                                           "checkpoint_every": 160, "schedule": "cosine"})  # fmt: skip
    train(config, data, None, tmp_path / "run", device="cpu", quiet=True)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    network, card = load_checkpoint(tmp_path / "run" / "last.safetensors")
    samples = CornerDataset(data, method_of(network.config, card, config).sampling)
    asked = 0
    for index in range(len(samples)):
        sample = samples[index]
        with torch.inference_mode():
            attention = network.last_stack(sample.images[None]).attention
        for logits, wanted in zip(attention, sample.targets.attention, strict=True):
            asked += int(wanted.sum())
            assert torch.equal(logits[0].sigmoid() > card.saccade.attention_threshold, wanted == 1)
    assert asked >= 8
