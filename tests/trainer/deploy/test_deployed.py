"""What is deployed computes what was trained, with less."""

import dataclasses

import numpy as np
import oracles
import pytest
import torch
from lively_network import MICRO, card_of, lively_network
from torch import nn

from cornernet.engine.model_card import HEAD_OUTPUTS, Decoder
from cornernet.trainer.deploy.deployed import DeployedHeads, DeployedNetwork
from cornernet.trainer.network.presets import preset

CONFIGS = {
    "micro": MICRO,
    "1x1 heads": dataclasses.replace(MICRO, head_kernel=1),
    "fire": dataclasses.replace(MICRO, block="fire", upsample="transposed"),
    "stride 8": dataclasses.replace(MICRO, stem_channels=(8, 8, 8)),
    "no pooling": dataclasses.replace(MICRO, corner_pooling=False),
    "tiny": preset("tiny", num_classes=2),
}


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def trained_heads(network, card, images):
    """The heads of the network that was trained, on images normalised as in training."""
    pixels = images.float() / 255
    with torch.no_grad():
        return network.last_heads(((pixels - torch.tensor(card.mean)) / torch.tensor(card.std)).permute(0, 3, 1, 2))


@pytest.fixture(params=CONFIGS)
def network(request):
    return lively_network(CONFIGS[request.param])


def test_deployed_heads_equal_the_trained_network(network):
    card, images = card_of(network), random_images(2, 64, 96)
    expected = trained_heads(network, card, images)
    for name, one, other in zip(HEAD_OUTPUTS, DeployedHeads(network, card)(images), expected):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_no_batch_norm_and_no_training_only_part_is_left(network):
    deployed = DeployedNetwork(network, card_of(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    stack = (network.backbone, network.corners[-1], network.heads[-1])
    needed = sum(parameter.numel() for part in stack for parameter in part.parameters())
    zeros_of_the_block_diagonal = 2 * 3 * network.config.head_channels
    assert sum(parameter.numel() for parameter in deployed.parameters()) <= needed + zeros_of_the_block_diagonal
    assert not deployed.training and not any(parameter.requires_grad for parameter in deployed.parameters())


@pytest.mark.parametrize("clamp", [False, True])
def test_boxes_equal_the_slow_decoder_on_the_dense_heads(network, clamp):
    decoder = Decoder(top_k=40, num_dets=60, clamp_corners=clamp)
    card, images = card_of(network, decoder=decoder), random_images(2, 63, 96)
    maps = DeployedHeads(network, card)(images)
    corners = []
    for side in (0, 1):
        heatmap, embedding, offset = (values.numpy() for values in maps[side::2])
        scores, labels, cells = oracles.corner_peaks(heatmap, 40)
        embeddings, x, y = oracles.read_cells(embedding, offset, cells)
        x, y = (np.maximum(x, 0), np.maximum(y, 0)) if clamp else (x, y)
        corners.append((scores, labels, embeddings, x, y))
    boxes, *expected = oracles.corner_group(*corners, num_dets=60)
    ratio = np.array([96 / maps[0].shape[3], 63 / maps[0].shape[2]] * 2, np.float32)
    got = DeployedNetwork(network, card)(images)
    assert expected[-1].sum() > 0
    np.testing.assert_allclose(got.boxes, boxes * ratio, atol=1e-3)
    for one, other in zip(got[1:], expected):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_float16_keeps_scores_and_coordinates_in_float32():
    network = lively_network()
    card, images = card_of(network), random_images(1, 64, 64)
    half = DeployedNetwork(network, card, dtype=torch.float16)
    assert half.features.backbone.stem.get_submodule("0").conv.weight.dtype == torch.float16
    found = half(images)
    assert [tensor.dtype for tensor in found] == [torch.float32] * 3 + [torch.int32] * 2
    heads = DeployedHeads(network, card, dtype=torch.float16)(images)
    for one, other in zip(heads, trained_heads(network, card, images)):
        torch.testing.assert_close(one, other, atol=5e-2, rtol=0)


def test_deploying_leaves_the_network_as_it_was():
    network = lively_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    DeployedNetwork(network, card_of(network), dtype=torch.float16)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
