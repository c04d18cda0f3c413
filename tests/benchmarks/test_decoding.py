"""What decoding at a fraction of the size gains and costs: the same boxes on files that differ in their size alone."""

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card

from cornernet.benchmarks import decoding
from cornernet.engine.detector import Detector
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, train=1, val=1, test=3, size=(64, 96))
    return load_coco(folder, "test")


def test_enlarged_pictures_have_boxes_enlarged_alike(data, tmp_path):
    big = decoding.enlarged(data, tmp_path / "big", 4)
    for small, large in zip(data.samples, big.samples, strict=True):
        assert (large.height, large.width) == (4 * small.height, 4 * small.width)
        assert cv2.imread(str(large.path)).shape[:2] == (large.height, large.width)
        np.testing.assert_allclose(large.boxes, 4 * small.boxes)


def test_the_table_has_both_ways_and_their_ratio():
    rows = [{"factor": 4, "decode": name, "AP": ap, "AP50": 0.8} for name, ap in (("exact", 0.7), ("fast", 0.69))]
    text = decoding.render({"ms": {"exact": 80.0, "fast": 25.0}, "images": 3, "rows": rows})
    assert "exact 80 ms, fast 25 ms, 3.2 times less" in text
    assert "| 4 times | fast | 0.690 | 0.800 |" in text


def test_both_ways_are_timed_on_a_picture_of_12_megapixels(monkeypatch):
    seen = []
    original = decoding.place_on_canvas
    monkeypatch.setattr(
        decoding, "place_on_canvas", lambda pixels, *rest: seen.append(pixels.shape) or original(pixels, *rest)
    )
    detector = Detector(FunctionBackend(bright_box, make_card()), resize="fit", size=decoding.CANVAS)
    times = decoding.time_decoding(detector, 1)
    assert set(times) == {"exact", "fast"} and min(times.values()) > 0
    assert seen == [(3000, 4000, 3), (750, 1000, 3)]
