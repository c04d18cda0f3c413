"""Raw detections of an image's views -> its results: to image pixels, merge, soft-NMS, the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cornernet.engine.arguments import choice, integer, number
from cornernet.engine.backends import RawDetections
from cornernet.engine.geometry import Placement
from cornernet.engine.protocol import Protocol
from cornernet.engine.results.official_nms import soft_nms_in_place
from cornernet.engine.results.soft_nms import Method, soft_nms


class Candidates(NamedTuple):
    """Boxes before suppression: (n, 4) f32 [px, image]; scores (n,) f32; corner_scores (n, 2) f32; labels (n,) i32."""

    boxes: np.ndarray
    scores: np.ndarray
    corner_scores: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Suppression:
    """How overlapping boxes are thinned out.

    method: soft-NMS variant, or None to keep them all. merge_exponent: average boxes with those they weaken (official
    `merge_bbox`, 10 in its multi-scale configuration). max_per_image, score_threshold: what is kept in the end.
    """

    method: Method | None = "gaussian"
    sigma: float = 0.5
    iou_threshold: float = 0.5
    min_score: float = 0.001
    merge_exponent: float | None = None
    max_per_image: int = 100
    score_threshold: float = 0.0

    def __post_init__(self) -> None:
        choice("soft_nms", self.method, ("gaussian", "linear", "hard", None))
        integer("max_per_image", self.max_per_image, least=1)
        number("score_threshold", self.score_threshold, least=0, most=1, advice=", such as 0.5 for 50 %")
        if self.merge_exponent is not None:
            number("merge_exponent", self.merge_exponent, least=0, most=100, advice=", or None")


def to_candidates(raw: RawDetections, row: int, placement: Placement, protocol: Protocol) -> Candidates:
    """The valid rows of one view, image `row` of a batch, in image pixels."""
    count = int(raw.counts[row])
    found = Candidates(
        placement.to_image(raw.boxes[row, :count], protocol),
        raw.scores[row, :count],
        raw.corner_scores[row, :count],
        raw.labels[row, :count],
    )
    if protocol.drop_empty:
        x1, y1, x2, y2 = found.boxes.T
        kept = (x2 > x1) & (y2 > y1)
        if not kept.all():
            return Candidates(*(values[kept] for values in found))
    return found


def suppress(
    views: Sequence[Candidates], suppression: Suppression, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the views of one image and thin out: -> boxes (m, 4) f32 [px, image], scores (m,) f32, labels (m,) i32."""
    joined = views[0] if len(views) == 1 else Candidates(*(np.concatenate(values) for values in zip(*views)))
    if protocol.in_place and suppression.method is not None:
        boxes, scores, labels = _suppress_in_place(joined, suppression, protocol)
    else:
        picked = soft_nms(
            joined.boxes,
            joined.scores,
            joined.labels,
            method=suppression.method,
            sigma=suppression.sigma,
            iou_threshold=suppression.iou_threshold,
            min_score=suppression.min_score,
            limit=suppression.max_per_image,
            iou_pixel=protocol.iou_pixel,
            corner_scores=joined.corner_scores,
            merge_exponent=suppression.merge_exponent,
        )
        boxes, scores, labels = picked.boxes, picked.scores, joined.labels[picked.rows]
    if suppression.score_threshold > 0:
        kept = scores >= suppression.score_threshold
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    return boxes, scores, labels


def _suppress_in_place(
    found: Candidates, suppression: Suppression, protocol: Protocol
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class by class as the official test code, then the best `max_per_image` of all."""
    assert suppression.method is not None
    table = np.column_stack((found.boxes, found.scores, found.corner_scores)).astype(np.float32)
    tables, labels = [np.empty((0, 7), np.float32)], [np.empty(0, np.int32)]
    for label in np.unique(found.labels):
        rows = table[found.labels == label]
        if protocol.drop_weak:
            rows = rows[rows[:, 4] >= suppression.min_score]
        count = soft_nms_in_place(
            rows,
            method=suppression.method,
            sigma=suppression.sigma,
            iou_threshold=suppression.iou_threshold,
            min_score=suppression.min_score,
            iou_pixel=protocol.iou_pixel,
            merge_exponent=suppression.merge_exponent,
            move_corner_scores=protocol.move_corner_scores,
        )
        tables.append(rows if protocol.keep_stale else rows[:count])
        labels.append(np.full(len(tables[-1]), label, np.int32))
    table, label_column = np.concatenate(tables), np.concatenate(labels)
    scores, limit = table[:, 4], suppression.max_per_image
    if len(scores) > limit:
        if protocol.keep_ties:
            kept = scores >= np.partition(scores, len(scores) - limit)[len(scores) - limit]
        else:
            kept = np.zeros(len(scores), bool)
            kept[np.argsort(-scores, kind="stable")[:limit]] = True
        table, label_column = table[kept], label_column[kept]
    if protocol.order == "score":
        best = np.argsort(-table[:, 4], kind="stable")
        table, label_column = table[best], label_column[best]
    return table[:, :4], table[:, 4], label_column
