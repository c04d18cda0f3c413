"""Training targets of a CornerNet-Saccade: corners, cells that do not count, and where to look closer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cornernet.trainer.data.targets import MAX_OBJECTS, CornerTargets, Radius, corner_targets

MIN_OVERLAP = 0.5
"""IoU that a corner within the gaussian radius leaves; CornerNet has 0.3."""


class AttentionMaps(NamedTuple):
    """One map for each size class of objects, (1, h, w) float32 each: 1 in the cell that an object's centre lies in."""

    large: Any
    medium: Any
    small: Any


class SaccadeTargets(NamedTuple):
    """What the network should answer for one crop; for a batch, the same as tensors with a leading batch axis.

    corners: of the objects that can be seen. top_left_weight, bottom_right_weight (C, h, w) float32: 0 near the corners
    of the others, 1 elsewhere. attention: of all objects.
    """

    corners: CornerTargets
    top_left_weight: Any
    bottom_right_weight: Any
    attention: AttentionMaps


def saccade_targets(
    boxes: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    *,
    num_classes: int,
    side: int,
    stride: int,
    attention_strides: tuple[int, ...],
    bounds: tuple[int, int],
    radius: Radius = "object",
    max_objects: int = MAX_OBJECTS,
) -> SaccadeTargets:
    """Targets of a square canvas of `side` [px].

    Args:
        boxes:   (n, 4) x1 y1 x2 y2 [px, canvas], clipped to it; labels: (n,) class index from 0.
        counts:  (n,) bool: whose corners are learnt. A gaussian of the same size around those of the others marks cells
                 where the network may answer what it likes.
        attention_strides: canvas pixels per cell of the maps for large, medium and small objects.
        bounds:  longer side from which on an object is large, and from which on it is medium [px]; one of exactly this
                 length is both, as officially.
    """
    cells = -(-side // stride)

    def corners_of(chosen: np.ndarray) -> CornerTargets:
        return corner_targets(
            boxes[chosen],
            labels[chosen],
            num_classes=num_classes,
            input_size=(side, side),
            map_size=(cells, cells),
            radius=radius,
            min_overlap=MIN_OVERLAP,
            max_objects=max_objects,
        )

    ignored = corners_of(~counts)
    return SaccadeTargets(
        corners_of(counts),
        (ignored.top_left_heatmap == 0).astype(np.float32),
        (ignored.bottom_right_heatmap == 0).astype(np.float32),
        attention_targets(boxes, side=side, strides=attention_strides, bounds=bounds),
    )


def attention_targets(
    boxes: np.ndarray, *, side: int, strides: tuple[int, ...], bounds: tuple[int, int]
) -> AttentionMaps:
    """The maps for boxes (n, 4) [px, canvas]; see `saccade_targets`."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    large, medium = bounds
    maps = []
    for stride, (least, most) in zip(strides, ((large, np.inf), (medium, large), (0, medium)), strict=True):
        chosen = boxes[(longer >= least) & (longer <= most)]
        cells = -(-side // stride)
        column, row = np.trunc((chosen[:, :2] + chosen[:, 2:]) / 2 / stride).astype(int).clip(0, cells - 1).T
        wanted = np.zeros((1, cells, cells), np.float32)
        wanted[0, row, column] = 1
        maps.append(wanted)
    return AttentionMaps(*maps)
