"""Anchor boxes, what they should answer, and back to boxes (RetinaNet, Lin et al. 2017, section 4).

Boxes are x1 y1 x2 y2 [px, canvas]. Levels are ordered finest first, then rows, columns, and the anchors of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
"""height / width."""
PER_CELL = len(SCALES) * len(RATIOS)
SIDE = 4
"""Of a level's smallest square anchor [cell]: 32 px at stride 8."""

OBJECT_IOU, BACKGROUND_IOU = 0.5, 0.4
BACKGROUND, IGNORED = -1, -2
LARGEST_GROWTH = float(np.log(1000 / 16))
"""A box is at most so much larger than its anchor [log], as in Detectron: no overflow early in training."""


class AnchorTargets(NamedTuple):
    """What every anchor should answer; for a batch, tensors with a leading batch axis.

    labels (A,)   int64   class index from 0, BACKGROUND or IGNORED
    deltas (A, 4) float32 of the matched box, see `encode`; 0 where there is none
    """

    labels: Any
    deltas: Any


@lru_cache(maxsize=16)
def anchor_boxes(size: tuple[int, int], strides: Sequence[int]) -> np.ndarray:
    """(A, 4) float32 of a canvas (height, width) [px]: centred on cells of maps of these strides [px/cell].

    Shared between calls, hence read-only.
    """
    levels = []
    for stride in strides:
        rows, columns = (-(-side // stride) for side in size)
        shapes = [
            (scale * SIDE * stride * ratio**0.5, scale * SIDE * stride / ratio**0.5)
            for scale in SCALES
            for ratio in RATIOS
        ]
        half = np.array([(-width / 2, -height / 2, width / 2, height / 2) for height, width in shapes])
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        centres = stride * np.stack([x, y, x, y], axis=-1)
        levels.append((centres[:, :, None] + half).reshape(-1, 4))
    boxes = np.concatenate(levels).astype(np.float32)
    boxes.setflags(write=False)
    return boxes


def match(anchors: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> AnchorTargets:
    """Each anchor answers for the box that it overlaps most: IoU >= 0.5 an object, < 0.4 background, else ignored.

    anchors (A, 4), boxes (n, 4) [px], labels (n,) class index. Equal overlaps: the first box.
    """
    found = np.full(len(anchors), BACKGROUND, np.int64)
    deltas = np.zeros((len(anchors), 4), np.float32)
    if len(boxes):
        overlap = iou(anchors, boxes)
        best = overlap.argmax(axis=1)
        most = overlap[np.arange(len(anchors)), best]
        found[most >= BACKGROUND_IOU] = IGNORED
        objects = most >= OBJECT_IOU
        found[objects] = labels[best[objects]]
        deltas[objects] = encode(anchors[objects], boxes[best[objects]])
    return AnchorTargets(found, deltas)


def iou(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(A, 4), (n, 4) -> (A, n) float64."""
    one, other = anchors[:, None].astype(np.float64), boxes[None].astype(np.float64)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1)
    overlap: np.ndarray = shared / np.maximum(areas - shared, np.finfo(np.float64).tiny)
    return overlap


def encode(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n, 4) each, sides above 0 -> (n, 4): centre shift in anchor sides, log of the growth (Fast R-CNN)."""
    anchor_sides, sides = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / anchor_sides
    return np.concatenate([shift, np.log(sides / anchor_sides)], axis=1).astype(np.float32)


def decode(anchors: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Inverse of `encode`, up to LARGEST_GROWTH."""
    anchor_sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 + deltas[:, :2] * anchor_sides
    halves = np.exp(deltas[:, 2:].clip(max=LARGEST_GROWTH)) * anchor_sides / 2
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)
