"""Anchor boxes and their matching, against one anchor after the other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornernet.benchmarks.anchor_baseline.anchors import (
    BACKGROUND,
    IGNORED,
    LARGEST_GROWTH,
    anchor_boxes,
    decode,
    encode,
    iou,
    match,
)


def slow_anchors(size, strides):
    """RetinaNet, section 4: three ratios and three sizes at each cell, area kept when the ratio changes."""
    found = []
    for stride in strides:
        for row in range(math.ceil(size[0] / stride)):
            for column in range(math.ceil(size[1] / stride)):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                for octave in range(3):
                    for ratio in (0.5, 1, 2):
                        side = 4 * stride * 2 ** (octave / 3)
                        height, width = side * math.sqrt(ratio), side / math.sqrt(ratio)
                        found.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(found)


def slow_iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def test_a_cell_of_stride_8_has_the_nine_anchors_of_the_paper():
    boxes = anchor_boxes((8, 8), (8,))
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sorted({round(float(area)) for area in sides.prod(axis=1)})
    assert areas == [32 * 32, round((32 * 2 ** (1 / 3)) ** 2), round((32 * 2 ** (2 / 3)) ** 2)]
    assert sorted({round(float(ratio), 3) for ratio in sides[:, 1] / sides[:, 0]}) == [0.5, 1.0, 2.0]
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, 4, atol=1e-5)


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)), st.sampled_from([(4,), (4, 8), (8, 16, 32)]))
def test_anchors_of_any_canvas_are_those_drawn_one_by_one(size, strides):
    np.testing.assert_allclose(anchor_boxes(size, strides), slow_anchors(size, strides), atol=1e-3)


@st.composite
def scenes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.uniform(0, 50, (draw(st.integers(0, 6)), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 60, corner.shape)], axis=1).astype(np.float32)
    return boxes, rng.integers(0, 3, len(boxes))


@given(scenes())
def test_matching_is_that_of_one_anchor_after_the_other(scene):
    boxes, labels = scene
    anchors = anchor_boxes((48, 64), (8, 16))
    found = match(anchors, boxes, labels)
    for anchor, label, deltas in zip(anchors.astype(np.float64), found.labels, found.deltas):
        overlaps = [slow_iou(anchor, box) for box in boxes.astype(np.float64)]
        best = max(overlaps, default=0.0)
        if best >= 0.5:
            assert label == labels[overlaps.index(best)]
            np.testing.assert_allclose(decode(anchor[None], deltas[None])[0], boxes[overlaps.index(best)], atol=1e-3)
        else:
            assert label == (IGNORED if best >= 0.4 else BACKGROUND)
            assert not deltas.any()


@given(scenes())
def test_overlap_is_symmetric_within_0_and_1_and_1_with_itself(scene):
    boxes, _ = scene
    overlap = iou(boxes, boxes)
    np.testing.assert_allclose(overlap, overlap.T)
    assert (overlap >= 0).all() and (overlap <= 1).all()
    np.testing.assert_allclose(np.diag(overlap), 1)


@given(scenes())
def test_encoding_comes_back(scene):
    boxes, _ = scene
    anchors = np.tile(np.float32([[3, 4, 20, 30]]), (len(boxes), 1))
    np.testing.assert_allclose(decode(anchors, encode(anchors, boxes)), boxes, atol=1e-3)


def test_an_absurd_answer_overflows_nothing():
    (box,) = decode(np.float32([[0, 0, 16, 16]]), np.float32([[0, 0, 1000, 0]]))
    assert box[2] - box[0] == pytest.approx(16 * math.exp(LARGEST_GROWTH))
