"""Where to look closer: locations from the attention of the views and from their boxes, thinned out, best first.

A location is a row (y, x, scale, score): y and x [px, image], scale [canvas px / image px], float64. The official
distances are decided by exact ties, so its operations are done here in its order.
"""

from __future__ import annotations

import numpy as np

from cornernet.engine.geometry import Size
from cornernet.engine.model_card import Saccade
from cornernet.engine.protocol import SaccadeRules
from cornernet.engine.saccade.cuts import Cut

LARGEST_VIEW, LARGEST_CROP = 2.0, 4.0
"""Scales [canvas px / image px] beyond which nothing new is to be seen: an enlarged view's attention, any crop."""

NEAR = 16
"""Locations nearer than this to a better one are dropped [px, canvas], if their scales agree, see `thin_out`."""

NONE = np.empty((0, 4))


def attention_locations(
    scores: np.ndarray, cells: np.ndarray, view: Cut, saccade: Saccade, rules: SaccadeRules
) -> np.ndarray:
    """Locations (n, 4) that the attention of one view asks for, level by level, row by row.

    Args:
        scores, cells: (3, P) float32 and int32, see `SaccadeDetections`.
    """
    found = [NONE]
    threshold = np.float32(saccade.attention_threshold)
    for level, (stride, zoom) in enumerate(zip(saccade.attention_strides, saccade.zooms)):
        scale = zoom * view.zoom
        if rules.cap_zoom:
            scale = min(scale, LARGEST_CROP)
        elif view.zoom > LARGEST_VIEW or scale > LARGEST_CROP:
            continue
        strong = np.flatnonzero(scores[level] > threshold)
        strong = strong[np.argsort(cells[level, strong], kind="stable")]
        row, column = np.divmod(cells[level, strong].astype(np.int64), -(-view.canvas[1] // stride))
        half = stride / 2 if rules.cell_centre else 0
        y = (row * stride + half) / view.scale[0] + view.origin[0]
        x = (column * stride + half) / view.scale[1] + view.origin[1]
        inside = (y >= 0) & (y < view.image[0]) & (x >= 0) & (x < view.image[1])
        rows = np.column_stack((y, x, np.full(len(y), scale), scores[level, strong]))
        found.append(rows[inside])
    return np.concatenate(found)


def box_locations(
    boxes: np.ndarray, scores: np.ndarray, image: Size, saccade: Saccade, rules: SaccadeRules
) -> np.ndarray:
    """Locations (m, 4) of boxes (n, 4) float32 [px, image] with scores (n,) above the card's threshold.

    The scale shows the longer side as long as its size class is best seen. Boxes of no size, or beyond all
    numbers, give none.
    """
    strong = (scores > np.float32(saccade.reference_threshold)) & np.isfinite(boxes).all(axis=1)
    boxes, scores = boxes[strong], scores[strong]
    if rules.clip_centres:
        boxes = np.clip(boxes, 0, np.array((image[1], image[0], image[1], image[0]), np.float32))
    x1, y1, x2, y2 = boxes.T
    longer = np.maximum(x2 - x1, y2 - y1)
    large, medium = saccade.reference_bounds
    sizes = np.array(saccade.reference_sizes, np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.where(longer > large, sizes[0], np.where(longer > medium, sizes[1], sizes[2])) / longer
    rank = 1 + scores.astype(np.float64) if rules.rank_by_score else np.ones(len(scale))
    seen = (longer > 0) & np.isfinite(scale) & (scale > 0) & np.isfinite(y1 + y2) & np.isfinite(x1 + x2)
    if rules.cap_zoom:
        scale = np.minimum(scale, np.float32(LARGEST_CROP))
    return np.column_stack(((y1 + y2) / 2, (x1 + x2) / 2, scale, rank)).astype(np.float64)[seen]


def thin_out(locations: np.ndarray, rules: SaccadeRules, *, most: int) -> np.ndarray:
    """The best of locations (n, 4), best first, ties: the later row first; at most `most` of them.

    The best takes those that lie nearer than NEAR, measured on canvases, if scales agree within a fifth; and so on.
    """
    left = locations[np.argsort(locations[:, 3], kind="stable")[::-1]]
    kept: list[np.ndarray] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        aside = np.abs(left[:, :2] - best[:2])
        distance = aside.max(axis=1) if rules.near == "square" else aside.min(axis=1)
        if rules.tie_tolerance is None:
            ratio = best[2] / left[:, 2]
            close = ~(distance > NEAR / best[2])
            alike = (ratio >= 0.8) & (ratio <= 1.2)
        else:
            larger, smaller = np.maximum(left[:, 2], best[2]), np.minimum(left[:, 2], best[2])
            close = distance < NEAR / larger - rules.tie_tolerance
            alike = smaller / larger >= 0.8
        left = left[~(close & alike)]
    return np.array(kept).reshape(-1, 4)
