"""The picture of a Saccade: attention lies where its cells are, and its crops are those that were run."""

import cv2
import numpy as np
import pytest
import torch
from analysed_scene import random_network
from lively_network import card_of, lively_network

from cornernet.benchmarks.analyses.analysis_charts import subplots
from cornernet.benchmarks.analyses.observe import Network
from cornernet.benchmarks.analyses.saccade_picture import attention_plane, draw_crops, draw_saccade
from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.saccade.cuts import cut, view
from cornernet.trainer.network.presets import preset


@pytest.fixture(scope="module")
def network():
    """Of random weights, with attention everywhere."""
    module = lively_network(preset("saccade-tiny", 3))
    with torch.no_grad():
        for level in module.attention[-1].children():
            level[1].bias.fill_(1.0)
    return Network(module, card_of(module), device="cpu")


def test_a_cell_of_attention_covers_its_pixels_of_the_image():
    seen = view((100, 100), 247, 255, 4, DEFAULT.saccade)  # 2.47 times as large, from pixel 4 of the canvas on
    values = np.zeros((16, 16), np.float32)
    values[1, 2] = 1  # pixels 16 to 32 and 32 to 48 of the canvas
    rows, columns = np.nonzero(attention_plane(values, seen))
    edges = [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]
    assert edges == pytest.approx(np.subtract([16, 32, 32, 48], 4) / 2.47, abs=1)


def test_crops_are_numbered_in_their_order():
    crops = [cut((480, 640), (y, y), 1.0, 255, 4, DEFAULT.saccade) for y in (200, 100, 300)]
    _, axis = subplots(figsize=(4, 3))
    draw_crops(axis, crops)
    assert [text.get_text() for text in axis.texts] == ["1", "2", "3"]
    assert axis.patches[1].get_bbox().bounds == pytest.approx((-27.5, -27.5, 255, 255), abs=5)


def test_it_is_drawn_with_the_boxes_of_the_detector(network, tmp_path):
    image = draw_picture(np.random.default_rng(0), 60, 80)
    found = draw_saccade(network, image, tmp_path / "picture.png", threshold=0.01)
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert min(picture.shape[:2]) > 100 and (picture == 255).mean() < 0.97
    (expected,) = Detector(network.backend(), score_threshold=0.01).predict(image)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    assert len(found) > 0


def test_another_network_has_no_attention_to_show():
    with pytest.raises(ModelError, match="no CornerNet-Saccade"):
        random_network().attention(np.zeros((64, 64, 3), np.uint8))
