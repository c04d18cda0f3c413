"""Training targets: where the corners are and how much a near miss costs (section 3.2, Fig. 5, Eq. 1 and 2).

Numbers equal the official data loader's, its conventions included: map/input as the scale (128/511, not 1/4), sides
rounded up and the radius truncated to whole cells, sigma = (2r+1)/6 where the paper says r/3.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

Radius = Literal["object", "fixed", "none"]

FIXED_RADIUS = 2.5
"""Radius of Table 2's "fixed radius" row [cell]. Drawn as 2: whole radii only, as in the official config."""

MAX_OBJECTS = 128
"""Rows for embedding and offset in the targets of one image."""


class CornerTargets(NamedTuple):
    """What the six heads should answer for one image; for a batch, the same as tensors with a leading batch axis.

    top_left_heatmap, bottom_right_heatmap (C, h, w) float32  1 at corners, a gaussian around them, 0 elsewhere
    top_left_offset, bottom_right_offset   (T, 2)    float32  [cell] x, y: what truncation to the cell removed (Eq. 2)
    top_left_cell, bottom_right_cell       (T,)      int64    row * w + column
    mask                                   (T,)      bool     True for rows that hold an object

    T is `max_objects`, C the number of classes. Unused rows are zero.
    """

    top_left_heatmap: Any
    bottom_right_heatmap: Any
    top_left_offset: Any
    bottom_right_offset: Any
    top_left_cell: Any
    bottom_right_cell: Any
    mask: Any


def gaussian_radius(height: float, width: float, min_overlap: float = 0.3) -> float:
    """Largest corner displacement that still leaves an IoU of `min_overlap` (Fig. 5). height, width, result [cell].

    Three cases, the smallest radius wins: one corner moves in and the other out, both move in, both move out.
    Each is the smaller (third: larger) root of a quadratic, with the correct denominators: the official code before
    March 2019 lacked them.
    """
    total, area = height + width, height * width
    shifted = (total - math.sqrt(total**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))) / 2
    shrunk = (2 * total - math.sqrt(4 * total**2 - 16 * (1 - min_overlap) * area)) / 8
    grow = 2 * min_overlap * total
    grown = (-grow + math.sqrt(grow**2 + 16 * min_overlap * (1 - min_overlap) * area)) / (8 * min_overlap)
    return min(shifted, shrunk, grown)


@lru_cache(maxsize=256)
def gaussian_kernel(radius: int) -> np.ndarray:
    """(2r+1, 2r+1) float32, 1 in the centre, sigma = (2r+1)/6 [cell]. Shared between calls, hence read-only."""
    axis = np.arange(-radius, radius + 1, dtype=np.float64)
    sigma = (2 * radius + 1) / 6
    kernel = np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * sigma * sigma)).astype(np.float32)
    kernel.setflags(write=False)
    return kernel


def draw_gaussian(heatmap: np.ndarray, column: int, row: int, radius: int) -> None:
    """Raise `heatmap` (h, w) to a gaussian around a cell inside it, in place; only the patch is touched."""
    height, width = heatmap.shape
    top, bottom = max(0, row - radius), min(height, row + radius + 1)
    left, right = max(0, column - radius), min(width, column + radius + 1)
    patch = heatmap[top:bottom, left:right]
    kernel = gaussian_kernel(radius)
    inside = kernel[top - row + radius : bottom - row + radius, left - column + radius : right - column + radius]
    np.maximum(patch, inside, out=patch)


def corner_targets(
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    input_size: tuple[int, int],
    map_size: tuple[int, int],
    radius: Radius = "object",
    min_overlap: float = 0.3,
    max_objects: int = MAX_OBJECTS,
) -> CornerTargets:
    """Heatmaps, offsets and cells of the objects of one image.

    Every box is drawn on the heatmaps. At most `max_objects` of them, the largest, get a row for embedding and offset
    (the official code stops with an IndexError); rows keep the order of `boxes`.

    Args:
        boxes:       (n, 4) x1 y1 x2 y2 [px, network input]; corners outside the map go to its nearest cell.
        labels:      (n,) class index from 0.
        input_size:  (H, W) [px] of the network input; map_size: (h, w) [cell] of its heatmaps.
        radius:      "object": so that a corner anywhere within it makes a box of IoU >= `min_overlap`;
                     "fixed": FIXED_RADIUS; "none": the corner's own cell only (the three rows of Table 2).

    Returns numpy arrays, see CornerTargets.
    """
    height, width = map_size
    scale = np.array([width / input_size[1], height / input_size[0]] * 2)
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) * scale
    cells = np.clip(np.trunc(corners), 0, [width - 1, height - 1] * 2).astype(np.int64)
    radii = _radii(corners, radius, min_overlap)
    heatmaps = np.zeros((2, num_classes, height, width), np.float32)
    for (x1, y1, x2, y2), label, cell_radius in zip(cells.tolist(), np.asarray(labels).tolist(), radii):
        draw_gaussian(heatmaps[0, label], x1, y1, cell_radius)
        draw_gaussian(heatmaps[1, label], x2, y2, cell_radius)

    kept = _largest(corners, max_objects)
    count = len(kept)
    offsets = np.zeros((2, max_objects, 2), np.float32)
    flat = np.zeros((2, max_objects), np.int64)
    for side, columns in enumerate((slice(0, 2), slice(2, 4))):
        x, y = cells[kept, columns].T
        offsets[side, :count] = corners[kept, columns] - cells[kept, columns]
        flat[side, :count] = y * width + x
    mask = np.arange(max_objects) < count
    return CornerTargets(heatmaps[0], heatmaps[1], offsets[0], offsets[1], flat[0], flat[1], mask)


def _radii(corners: np.ndarray, radius: Radius, min_overlap: float) -> list[int]:
    """Whole gaussian radius of each box; corners (n, 4) [cell]."""
    if radius == "object":
        sides = np.ceil(corners[:, 2:] - corners[:, :2]).clip(0).tolist()
        return [max(0, int(gaussian_radius(height, width, min_overlap))) for width, height in sides]
    return [int(FIXED_RADIUS) if radius == "fixed" else 0] * len(corners)


def _largest(corners: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` boxes of largest area, ascending."""
    if len(corners) <= count:
        return np.arange(len(corners))
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return np.sort(np.argsort(-area, kind="stable")[:count])
