"""A deployed CornerNet-Saccade: no corner at the border makes a box, and attention is chosen in the network."""

import numpy as np
import oracles
import pytest
import torch
from lively_network import card_of, lively_network
from torch import nn

from cornernet import Detector
from cornernet.engine.backends import SaccadeDetections
from cornernet.trainer.deploy.deployed import DeployedHeads, DeployedNetwork
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.checkpoint import save_checkpoint
from cornernet.trainer.network.presets import preset


@pytest.fixture(scope="module")
def network():
    return lively_network(preset("saccade-tiny", 1, stacks=2))


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 127, 96, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(scope="module")
def maps(network, images):
    return DeployedHeads(network, card_of(network))(images)


def test_maps_equal_those_of_the_trained_network(network, images, maps):
    card = card_of(network)
    pixels = (images.float() / 255 - torch.tensor(card.mean)) / torch.tensor(card.std)
    with torch.no_grad():
        expected = network.last_stack(pixels.permute(0, 3, 1, 2))
    torch.testing.assert_close(maps, expected, atol=2e-5, rtol=1e-5)
    assert [tuple(level.shape[2:]) for level in maps.attention] == [(8, 6), (16, 12), (32, 24)]


@pytest.mark.parametrize("rejects", [False, True])
def test_boxes_and_attention_equal_the_slow_decoder_on_the_maps(network, images, maps, rejects):
    card = card_of(network)
    decoder = card.decoder.model_copy(update={"reject_border": rejects, "top_k": 40})
    corners = []
    for side, last in ((0, False), (1, True)):
        heatmap, embedding, offset = (values.numpy() for values in maps.corners[side::2])
        scores, labels, cells = oracles.corner_peaks(heatmap, decoder.top_k)
        if rejects:
            labels = oracles.reject_border(labels, cells, *heatmap.shape[2:], last=last)
        corners.append((scores, labels, *oracles.read_cells(embedding, offset, cells)))
    boxes, *expected = oracles.corner_group(*corners, num_dets=decoder.num_dets, max_distance=decoder.max_distance)
    got = DeployedNetwork(network, card.model_copy(update={"decoder": decoder}))(images)
    assert expected[-1].sum() > 0
    np.testing.assert_allclose(got.boxes, boxes * np.array([96 / 24, 127 / 32] * 2, np.float32), atol=1e-3)
    for one, other in zip(got[1:5], expected):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for level, logits in enumerate(maps.attention):
        scores, cells = oracles.attention_peaks(logits.numpy(), card.saccade.locations)
        np.testing.assert_allclose(got.attention_scores[:, level], scores, atol=1e-6)
        np.testing.assert_array_equal(got.attention_cells[:, level], cells)


def test_nothing_is_left_that_only_training_needs(network):
    deployed = DeployedNetwork(network, card_of(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())
    one = sum(parameter.numel() for parameter in network.attention[-1].parameters())
    assert sum(parameter.numel() for parameter in deployed.attention.parameters()) == one


def test_the_torch_backend_gives_attention_too(network, images):
    card = card_of(network)
    raw = TorchBackend(network, card).run(images.numpy())
    expected = DeployedNetwork(network, card)(images)
    np.testing.assert_array_equal(raw.attention_cells, expected.attention_cells)
    assert raw.attention_scores.shape == (2, 3, card.saccade.locations)
    half = TorchBackend(network, card, precision="bf16").run(images.numpy())
    np.testing.assert_allclose(half.attention_scores[..., 0], raw.attention_scores[..., 0], atol=0.02)


def test_a_checkpoint_opens_as_a_detector_that_looks_twice(network, tmp_path):
    path = tmp_path / "saccade.safetensors"
    save_checkpoint(path, network, card_of(network))
    with Detector(path) as detector:
        assert isinstance(detector.backend.run(np.zeros((1, 127, 127, 3), np.uint8)), SaccadeDetections)
        (found,) = detector.predict([np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)])
    assert found.error is None and len(found)
