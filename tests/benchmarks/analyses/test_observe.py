"""What the analyses see is what the deployed model sees."""

import numpy as np
import oracles
import pytest
from analysed_scene import CARD, random_network, scene

from cornernet.benchmarks.analyses.observe import Network, decode
from cornernet.engine.detector import Detector
from cornernet.engine.model_card import Decoder
from cornernet.trainer.deploy.torch_backend import TorchBackend


def picture(seed, height=50, width=64):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("resize", ["fit", "original"])
def test_boxes_of_the_maps_are_the_boxes_of_the_deployed_model(resize):
    network = random_network()
    other = Network(network.module, CARD, resize)
    detector = Detector(TorchBackend(network.module, CARD), resize=resize, score_threshold=0)
    for seed, (height, width) in enumerate(((50, 64), (64, 64), (90, 40))):
        image = picture(seed, height, width)
        found, expected = other.detect(other.observe(image)), detector.predict([image])[0]
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("decoder", [Decoder(top_k=7, num_dets=9), Decoder(top_k=30, num_dets=40, max_distance=2.0)])
def test_decoding_maps_equals_the_oracles(decoder):
    seen = random_network().observe(picture(5))
    maps = [head.numpy() for head in seen.heads]
    sides = []
    for heatmap, embedding, offset in (maps[0::2], maps[1::2]):
        scores, labels, cells = oracles.corner_peaks(heatmap, decoder.top_k)
        sides.append((scores, labels, *oracles.read_cells(embedding, offset, cells)))
    expected = oracles.corner_group(*sides, num_dets=decoder.num_dets, max_distance=decoder.max_distance)
    found = decode(seen.heads, seen.cell_size, decoder)
    np.testing.assert_allclose(found.boxes, expected[0] * 4, atol=1e-4)
    for values, wanted in zip(found[1:], expected[1:]):
        np.testing.assert_allclose(values, wanted, atol=1e-6)
    assert expected[4][0] > 0


def test_cells_and_pixels_are_inverse_on_a_scaled_and_padded_canvas():
    seen = random_network().observe(picture(0, 100, 60))
    boxes = np.array([[3, 4, 30, 50], [0, 0, 60, 100]], np.float32)
    cells = seen.to_cells(boxes)
    np.testing.assert_allclose(
        np.hstack((seen.to_pixels(cells[:, :2]), seen.to_pixels(cells[:, 2:]))), boxes, atol=1e-4
    )
    # 100 x 60 px in 64 x 64: scale 0.64, 38 px wide, 13 px to the left of it; 4 px a cell.
    np.testing.assert_allclose(cells[1], [13 / 4, 0, 51 / 4, 16], atol=1e-6)


def test_pool_inputs_are_those_of_the_last_stack_and_leave_no_hooks():
    network = random_network()
    seen = network.observe(picture(1))
    (first, second), (third, fourth) = network.pool_inputs(seen.canvas)
    assert first.shape == second.shape == third.shape == fourth.shape == (1, 32, 16, 16)
    module = network.module.corners[-1].top_left
    assert not module.vertical._forward_hooks and not module.horizontal._forward_hooks
    assert float(first.min()) >= 0  # after the ReLU


def test_a_scene_of_known_corners_gives_its_boxes():
    seen = scene([(2, 3, 1, 0.9, 0.0)], [(10, 12, 1, 0.7, 0.2)])
    found = random_network().detect(seen)
    np.testing.assert_allclose(found.boxes, [[8, 12, 40, 48]])
    np.testing.assert_allclose(found.scores, [0.8], atol=1e-6)
    assert found.names == ("ellipse",)
