"""--init: the network, colours and weights of a checkpoint go into the run; classes it does not know start anew."""

import dataclasses

import pytest
import torch

from cornernet.engine.errors import ModelError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop import train as loop
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.origin import adopt, transfer
from cornernet.trainer.loop.train import train
from cornernet.trainer.network.checkpoint import load_checkpoint, save_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset

CLASSES = ("rectangle", "ellipse", "triangle")  # of the drawn shapes
SIGHT = {"channel_order": "rgb", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "fill": (124, 116, 104)}


def network_and_card(class_names, *, seed=1, **changes):
    torch.manual_seed(seed)
    network = CornerNet(preset("tiny", len(class_names), **changes))
    legal = {"stride": network.config.stride, "size_multiple": network.config.size_multiple}
    ids = tuple(range(1, len(class_names) + 1))
    card = ModelCard(name="tiny", class_names=class_names, category_ids=ids, **legal, **SIGHT)
    return network, card


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return load_coco(generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=2, val=0, seed=3), "train")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(loop, "draw_run", lambda *given: None)


def fine_tune(shapes, tmp_path, init, *, resume=False, output="run", **values):
    short = {"size": (64, 64), "batch_size": 1, "epochs": 1, "learning_rate": 1e-12, "freeze_batch_norm": True}
    config = TrainConfig.read(**(short | values))
    train(config, shapes, None, tmp_path / output, resume=resume, init=init, device="cpu", quiet=True)
    return load_checkpoint(tmp_path / output / "last.safetensors")


@pytest.mark.parametrize("changes", [{"pool_channels": 24}, {"corner_pooling": False}])
def test_the_network_and_the_colours_are_those_of_the_file(shapes, tmp_path, caplog, changes):
    source, card = network_and_card(("cat",), **changes)
    save_checkpoint(tmp_path / "init.safetensors", source, card)
    network, its_card = fine_tune(shapes, tmp_path, tmp_path / "init.safetensors")
    assert network.config == dataclasses.replace(source.config, num_classes=3)
    assert {key: getattr(its_card, key) for key in SIGHT} == SIGHT
    assert its_card.class_names == CLASSES
    total = len(source.state_dict())
    assert f"{total - 4} of {total} entries taken; new: heatmap heads, 1 -> 3 classes" in caplog.text
    assert "RGB" in caplog.text
    for key, tensor in source.state_dict().items():
        if ".heatmap.1." not in key:
            assert torch.allclose(network.state_dict()[key], tensor, atol=1e-6), key


def test_training_shows_the_network_the_colours_of_the_file(shapes, tmp_path, monkeypatch):
    network, card = network_and_card(CLASSES)
    black = card.model_copy(update={"fill": (0, 0, 0)})  # as without --init, so that edges mix with the same
    save_checkpoint(tmp_path / "init.safetensors", network, black)
    seen = []
    optimise = loop.optimise
    monkeypatch.setattr(loop, "optimise", lambda model, state, batch, *rest: (
        seen.append(batch.images.clone()), optimise(model, state, batch, *rest))[1])  # fmt: skip
    still = {"scales": (1.0,), "centre": True, "flip": 0, "colour": 0, "lighting": 0}
    fine_tune(shapes, tmp_path, tmp_path / "init.safetensors", augment=still)
    fine_tune(shapes, tmp_path, None, output="scratch", augment=still, preset="tiny")
    as_rgb, as_bgr = seen[:2], seen[2:]
    own = ModelCard(name="x", class_names=("x",), category_ids=(1,))
    for rgb, bgr in zip(as_rgb, as_bgr, strict=True):
        pixels = [image * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
                  for image, mean, std in ((rgb[0].flip(0), SIGHT["mean"][::-1], SIGHT["std"][::-1]),
                                           (bgr[0], own.mean, own.std))]  # fmt: skip
        assert torch.allclose(*pixels, atol=0.01) and pixels[0].std() > 0.05


def test_an_interrupted_fine_tuning_goes_on_without_the_file_and_as_the_same_network(shapes, tmp_path):
    init = tmp_path / "init.safetensors"
    save_checkpoint(init, *network_and_card(("cat",), corner_pooling=False))
    fine_tune(shapes, tmp_path, init)
    init.unlink()
    network, card = fine_tune(shapes, tmp_path, None, resume=True, epochs=2)
    assert not network.config.corner_pooling and card.channel_order == "rgb"


@pytest.mark.parametrize("asked", [{"preset": "squeeze"}, {"preset": "tiny"}, {"corner_pooling": True}])
def test_a_configuration_that_asks_for_another_network_is_refused(tmp_path, asked):
    name, changes = ("fpn-resnet50", {}) if "preset" in asked else ("tiny", {"corner_pooling": False})
    found = preset(name, 2, **changes)
    with pytest.raises(TrainingError, match=f"holds the network '{name}'.*asks for {next(iter(asked))}"):
        adopt(TrainConfig.read(**asked), found, tmp_path / "init.safetensors")
    assert adopt(TrainConfig(), found, tmp_path).preset == name


def test_a_configuration_that_names_the_network_of_the_file_agrees(tmp_path):
    config = TrainConfig.read(preset="squeeze", corner_pooling=True)
    assert adopt(config, preset("squeeze", 80), tmp_path) == config


def test_a_contradiction_is_found_before_any_step_and_leaves_nothing(shapes, tmp_path):
    save_checkpoint(tmp_path / "init.safetensors", *network_and_card(CLASSES))
    with pytest.raises(TrainingError, match="asks for preset 'squeeze'"):
        fine_tune(shapes, tmp_path, tmp_path / "init.safetensors", preset="squeeze")
    assert not (tmp_path / "run").exists()


def test_rows_of_classes_that_both_know_are_taken_wherever_they_stand():
    source, its = network_and_card(("dog", "Cat", "bird"))
    network, own = network_and_card(("cat", "cow"), seed=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    said = transfer(network, own, source, its)
    assert said == "278 of 282 entries taken; new: heatmap heads, 3 -> 2 classes; of the old classes stay cat"
    for corner in ("top_left", "bottom_right"):
        for kind in ("weight", "bias"):
            name = f"heads.0.{corner}.heatmap.1.{kind}"
            assert torch.equal(network.state_dict()[name][0], source.state_dict()[name][1])
            assert torch.equal(network.state_dict()[name][1], before[name][1])


def test_equal_classes_take_every_entry():
    source, its = network_and_card(("dog", "cat"))
    network, own = network_and_card(("Dog", "cat"), seed=2)
    total = len(source.state_dict())
    assert transfer(network, own, source, its) == f"{total} of {total} entries taken"
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_a_file_that_is_no_checkpoint_is_refused(shapes, tmp_path):
    (tmp_path / "init.safetensors").write_text("no weights")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        fine_tune(shapes, tmp_path, tmp_path / "init.safetensors")
