"""Whatever a network says within the contract, a Saccade goes on: a damaged file, weights that went wild."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from planted_saccade import PEAKS, saccade_card

from cornernet.engine.backends import SaccadeDetections
from cornernet.engine.detector import Detector

WILD = (0, 1, -1, 254.9, 1e-30, 1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, np.nan)


class WildBackend:
    name = "wild"

    def __init__(self, seed):
        self.card = saccade_card(3)
        self.random = np.random.default_rng(seed)

    def run(self, canvases):
        random, count = self.random, len(canvases)
        boxes = random.choice(WILD, (count, 12, 4)).astype(np.float32)
        tame = random.random((count, 12)) < 0.5
        boxes[tame] = np.sort(random.uniform(-50, 300, (tame.sum(), 4)), axis=1)
        scores = -np.sort(-random.random((count, 12)).astype(np.float32), axis=1)
        attention = -np.sort(-random.choice([-1, 0, 0.29, 0.31, 0.9, 1], (count, 3, PEAKS)), axis=2)
        cells = np.stack([random.integers(0, cells, (count, PEAKS)) for cells in (256, 1024, 4096)], axis=1)
        return SaccadeDetections(
            boxes,
            scores,
            np.stack((scores, scores), axis=2),
            random.integers(0, 3, (count, 12)).astype(np.int32),
            random.integers(0, 13, count).astype(np.int32),
            attention.astype(np.float32),
            cells.astype(np.int32),
        )

    def close(self):
        pass


@settings(max_examples=25, deadline=None)
@example(seed=214, size=(1, 109), protocol="official")  # a box so long that its scale is 0
@example(seed=1091, size=(1, 145), protocol="official")  # a box whose centre is beyond float32
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    protocol=st.sampled_from(["default", "official"]),
)
def test_wild_answers_give_a_result_and_at_most_so_many_crops(seed, size, protocol):
    detector = Detector(WildBackend(seed), protocol=protocol, max_crops=5)
    plan = detector.stages.plan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        views = plan.placements(size)
        raw = detector.backend.run(np.zeros((2, 255, 255, 3), np.uint8))
        crops = plan.placements(size, [(raw, row, view) for row, view in enumerate(views)])
        (found,) = detector.predict(np.zeros((*size, 3), np.uint8))
    assert len(crops) <= 5 and not any(crop.is_empty for crop in crops)
    assert found.error is None and len(found.scores) == len(found)


@pytest.mark.parametrize("protocol", ["default", "official"])
def test_it_does_so_without_a_warning_where_boxes_are_numbers(protocol):
    backend = WildBackend(0)
    run = backend.run

    def finite(canvases):
        raw = run(canvases)
        return raw._replace(boxes=np.nan_to_num(raw.boxes, posinf=1e4, neginf=-1e4).clip(-1e6, 1e6))

    backend.run = finite
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Detector(backend, protocol=protocol).predict(np.zeros((90, 130, 3), np.uint8))[0].error is None
