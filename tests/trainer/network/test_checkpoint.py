import errno
import json
import random

import pytest
import safetensors.torch
import torch

from cornernet.engine.errors import ModelError, TrainingError
from cornernet.engine.model_card import METADATA_KEY, ModelCard, Saccade
from cornernet.trainer.deploy.open_model import open_model
from cornernet.trainer.import_weights import import_checkpoint
from cornernet.trainer.loop.resume_file import save_resume
from cornernet.trainer.network import checkpoint
from cornernet.trainer.network.checkpoint import NETWORK_KEY
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset
from cornernet.trainer.network.safetensors_file import read_safetensors, write_safetensors


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CornerNet(preset("tiny", 2))


@pytest.fixture
def card():
    return ModelCard(name="tiny", class_names=("cat", "dog"), category_ids=(3, 7), size_multiple=32)


def test_a_checkpoint_comes_back_with_its_weights_card_and_network(tmp_path, network, card):
    checkpoint.save_checkpoint(tmp_path / "model.safetensors", network, card)
    again, its_card = checkpoint.load_checkpoint(tmp_path / "model.safetensors")
    assert its_card == card
    assert again.config == network.config
    assert not again.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_safetensors_file_without_a_card_is_refused_with_the_way_to_import_it(tmp_path):
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="cornernet import"):
        checkpoint.load_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 64], ids=["empty", "text", "noise"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        checkpoint.load_checkpoint(tmp_path / "model.safetensors")


def test_a_truncated_checkpoint_is_refused(tmp_path, network, card):
    path = tmp_path / "model.safetensors"
    checkpoint.save_checkpoint(path, network, card)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a readable"):
        checkpoint.load_checkpoint(path)


def rewritten(path, network, card, change):
    """A checkpoint whose metadata went through `change(metadata)`; its tensors are those of `network`."""
    checkpoint.save_checkpoint(path, network, card)
    metadata, tensors = read_safetensors(path)
    change(metadata)
    write_safetensors(path, tensors, metadata)
    return path


def network_json(**changes):
    def change(metadata):
        metadata[NETWORK_KEY] = json.dumps(json.loads(metadata[NETWORK_KEY]) | changes)

    return change


def card_json(**changes):
    def change(metadata):
        metadata[METADATA_KEY] = json.dumps(json.loads(metadata[METADATA_KEY]) | changes)

    return change


def network_text(text):
    return lambda metadata: metadata.update({NETWORK_KEY: text})


ENORMOUS = [
    {"feature_channels": 100_000},
    {"feature_channels": 8192},
    {"num_classes": 65536},
    {"dims": [32, 48, 8192, 96]},
    {"modules": [1, 1, 1, 16]},
    {"stacks": 8},
    {"stacks": 10**9},
    {"stem_kernel": 10**9 + 1},
    {"dims": [2] * 100, "modules": [1] * 100},
]
WRONG = [
    {"feature_channels": "32"},
    {"feature_channels": -32},
    {"stem_kernel": -1},
    {"dims": [[32]]},
    {"dims": []},
    {"name": None},
    {"unknown": 1},
    {"corner_pooling": 1},
    {"map_stride": [4]},
    {"backbone": "timm:hf-hub:some/where"},
]


@pytest.mark.parametrize("changes", [*ENORMOUS, *WRONG], ids=str)
def test_a_description_that_is_not_of_these_tensors_is_refused_before_anything_is_built(
    tmp_path, network, card, monkeypatch, changes
):
    path = rewritten(tmp_path / "model.safetensors", network, card, network_json(**changes))
    monkeypatch.setattr(checkpoint, "CornerNet", lambda config: pytest.fail("memory was taken for the network"))
    with pytest.raises(ModelError):
        checkpoint.load_checkpoint(path)


@pytest.mark.parametrize("backbone", ["none", "fpn-resnet50"])
def test_a_checkpoint_of_another_backbone_is_refused(tmp_path, network, card, backbone):
    path = rewritten(tmp_path / "model.safetensors", network, card, network_json(backbone=backbone))
    with pytest.raises(ModelError, match="backbone"):
        checkpoint.load_checkpoint(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"tiny"', "[" * 100_000, "{}", '{"name": "tiny"}'])
def test_a_damaged_description_is_refused(tmp_path, network, card, text):
    path = rewritten(tmp_path / "model.safetensors", network, card, network_text(text))
    with pytest.raises(ModelError, match=r"model\.safetensors: the network's description \(cornernet_network\)"):
        checkpoint.load_checkpoint(path)


@pytest.mark.parametrize(
    "changes", [{"class_names": ["cat"], "category_ids": [3]}, {"stride": 8}, {"size_multiple": 64}], ids=str
)
def test_a_card_of_another_network_is_refused(tmp_path, network, card, changes):
    path = rewritten(tmp_path / "model.safetensors", network, card, card_json(**changes))
    with pytest.raises(ModelError, match=r"the card says \(classes, stride, size multiple\)"):
        checkpoint.load_checkpoint(path)


def test_a_saccades_card_belongs_to_a_network_with_attention_and_none_other(tmp_path, network, card):
    of_saccade = {"saccade": Saccade(view_sizes=(96,)), "train_size": (96, 96)}
    path = tmp_path / "model.safetensors"
    checkpoint.save_checkpoint(path, network, card.model_copy(update=of_saccade))
    with pytest.raises(ModelError, match="the card is that of a Saccade, with attention, the network is not"):
        checkpoint.load_checkpoint(path)
    saccade = CornerNet(preset("saccade-tiny", 2))
    checkpoint.save_checkpoint(path, saccade, card)
    with pytest.raises(ModelError, match="the network is that of a Saccade, with attention, the card is not"):
        checkpoint.load_checkpoint(path)
    checkpoint.save_checkpoint(path, saccade, card.model_copy(update=of_saccade))
    loaded, _ = checkpoint.load_checkpoint(path)
    torch.testing.assert_close(loaded.state_dict(), saccade.state_dict())


def test_a_checkpoint_damaged_anywhere_in_its_header_loads_or_is_a_model_error(tmp_path, network, card):
    path, chance = tmp_path / "model.safetensors", random.Random(11)
    checkpoint.save_checkpoint(path, network, card)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        # Half of the damage in the first bytes, where length, card and description lie.
        content[chance.randrange(chance.choice((2000, length)))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            checkpoint.load_checkpoint(path)
        except ModelError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("resumable", [False, True])
def test_a_folder_that_cannot_be_written_to_advises_to_resume_only_where_there_is_a_run(
    tmp_path, network, card, monkeypatch, resumable
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_safetensors", full)
    if resumable:
        (tmp_path / "last.pt").touch()
    with pytest.raises(TrainingError, match="No space left") as raised:
        checkpoint.save_checkpoint(tmp_path / "model.safetensors", network, card)
    assert ("--resume" in str(raised.value)) is resumable


def test_weights_of_another_network_are_refused_by_name(network):
    state = network.state_dict()
    name, tensor = next((name, tensor) for name, tensor in state.items() if tensor.dim() == 4)
    state[name] = torch.zeros(1, *tensor.shape[1:])
    state["surplus"] = torch.zeros(1)
    with pytest.raises(ModelError, match="surplus") as raised:
        checkpoint.load_weights(network, state, origin="file")
    assert name in str(raised.value)


def test_fine_tuning_copies_what_fits_and_reports_the_rest(network):
    target = CornerNet(preset("tiny", 5))
    left_out = checkpoint.transfer_weights(target, network.state_dict())
    assert left_out
    assert all("heatmap" in name for name in left_out)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, network, card, value):
    network.state_dict()["corners.0.top_left.pooled.1.running_var"][0] = value
    checkpoint.save_checkpoint(tmp_path / "model.safetensors", network, card)
    with pytest.raises(ModelError, match=r"pooled\.1\.running_var holds values that are no finite numbers"):
        checkpoint.load_checkpoint(tmp_path / "model.safetensors")


def cure(tmp_path, error):
    return str(checkpoint.cannot_write(tmp_path / "last.safetensors", error))


def test_only_a_full_disk_is_to_be_freed_and_only_a_run_with_a_checkpoint_resumed(tmp_path):
    assert "Free some disk space, then try again" in cure(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    (tmp_path / "last.pt").touch()
    assert "then run again with --resume" in cure(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert f"Make {tmp_path} writable" in cure(tmp_path, OSError(errno.EROFS, "Read-only file system"))
    assert "GB are free there" in cure(tmp_path, RuntimeError("PytorchStreamWriter failed writing file"))
    for error in (FileNotFoundError(errno.ENOENT, "No such file or directory"), ValueError("F8 is no type")):
        assert "disk space" not in cure(tmp_path, error)


def test_a_resume_file_is_refused_everywhere_with_the_weights_to_use_instead(tmp_path, network, card):
    checkpoint.save_checkpoint(tmp_path / "last.safetensors", network, card)
    save_resume(tmp_path / "last.pt", {"step": 1})
    for read in (checkpoint.load_checkpoint, import_checkpoint, open_model):
        with pytest.raises(ModelError, match=r"weights to use are .*last\.safetensors"):
            read(tmp_path / "last.pt")
    assert open_model(tmp_path / "last.safetensors").card == card
