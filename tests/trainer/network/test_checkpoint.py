import pytest
import safetensors.torch
import torch

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.network import checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset


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
