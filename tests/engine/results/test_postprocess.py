"""From raw detections to results."""

import numpy as np
import pytest
from fake_backends import make_card, raw_detections

from cornernet.engine.geometry import place_original
from cornernet.engine.protocol import DEFAULT, OFFICIAL
from cornernet.engine.results.postprocess import Candidates, Suppression, suppress, to_candidates


def candidates(rows):
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(rows[:, :4], rows[:, 4], np.repeat(rows[:, 4:5], 2, axis=1), rows[:, 5].astype(np.int32))


def test_only_the_counted_rows_are_used_and_come_back_in_image_pixels():
    raw = raw_detections([[(30, 20, 60, 50, 0.9, 1)], []])
    placement = place_original((100, 100), make_card(), DEFAULT)
    first, second = (to_candidates(raw, row, placement, DEFAULT) for row in (0, 1))
    np.testing.assert_array_equal(first.boxes, [[16, 6, 46, 36]])
    assert first.labels.tolist() == [1] and len(second.boxes) == 0


def test_views_are_joined_before_suppression():
    views = [candidates([(0, 0, 10, 10, 0.9, 0)]), candidates([(0, 0, 10, 10, 0.8, 0), (50, 50, 60, 60, 0.7, 0)])]
    boxes, scores, labels = suppress(views, Suppression(), DEFAULT)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.8 * np.exp(-2)], rtol=1e-5)
    assert boxes.shape == (3, 4) and labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("protocol", [DEFAULT, OFFICIAL], ids=lambda protocol: protocol.name)
def test_no_candidates_give_empty_arrays_of_the_right_shape(protocol):
    boxes, scores, labels = suppress([candidates([])], Suppression(), protocol)
    assert boxes.shape == (0, 4) and scores.shape == (0,) and labels.shape == (0,)


@pytest.mark.parametrize("protocol", [DEFAULT, OFFICIAL], ids=lambda protocol: protocol.name)
def test_limit_and_threshold_are_kept(protocol):
    rows = [(20 * i, 0, 20 * i + 10, 10, 0.9 - 0.01 * i, i % 3) for i in range(50)]
    _, scores, _ = suppress([candidates(rows)], Suppression(max_per_image=20, score_threshold=0.8), protocol)
    np.testing.assert_allclose(np.sort(scores), 0.9 - 0.01 * np.arange(10, -1, -1), rtol=1e-5)


def test_hard_suppression_removes_what_overlaps():
    rows = [(0, 0, 10, 10, 0.9, 0), (1, 0, 11, 10, 0.8, 0), (0, 0, 10, 10, 0.7, 1)]
    _, scores, labels = suppress([candidates(rows)], Suppression(method="hard"), DEFAULT)
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)
    assert labels.tolist() == [0, 1]
