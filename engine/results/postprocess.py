"""Raw detections of an image's views -> its results: to image pixels, merge, soft-NMS, the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cornernet.engine import native
from cornernet.engine.arguments import choice, integer, number
from cornernet.engine.backends import Outputs, RawDetections
from cornernet.engine.geometry import Placed, Placement
from cornernet.engine.native import Best
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
    `merge_bbox`, 10 in its multi-scale configuration). max_per_image, score_threshold (one number, or one a class):
    what is kept in the end. labels: the classes that are looked for; None: all.
    """

    method: Method | None = "gaussian"
    sigma: float = 0.5
    iou_threshold: float = 0.5
    min_score: float = 0.001
    merge_exponent: float | None = None
    max_per_image: int = 100
    score_threshold: float | tuple[float, ...] = 0.0
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        choice("soft_nms", self.method, ("gaussian", "linear", "hard", None))
        integer("max_per_image", self.max_per_image, least=1)
        each = self.score_threshold if isinstance(self.score_threshold, tuple) else (self.score_threshold,)
        for threshold in each:
            number("score_threshold", threshold, least=0, most=1, advice=", such as 0.5 for 50 %")
        if self.merge_exponent is not None:
            number("merge_exponent", self.merge_exponent, least=0, most=100, advice=", or None")

    @property
    def lowest_score(self) -> float:
        """No box below this can be in the result, a float32: scores only fall, so the threshold may cut first.

        Not with merging, where boxes below the threshold move those above it.
        """
        each = self.score_threshold if isinstance(self.score_threshold, tuple) else (self.score_threshold,)
        cut = 0.0 if self.merge_exponent is not None else min(each)
        lowest = max(self.min_score, cut, float(np.finfo(np.float32).tiny))
        return float(np.float32(lowest))

    def keeps(self, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which of scores (n,) float32, labels (n,) int32 reach their threshold: (n,) bool."""
        if isinstance(self.score_threshold, tuple):
            return scores >= np.asarray(self.score_threshold, np.float32)[labels]
        return scores >= self.score_threshold


def to_results(views: Sequence[tuple[Outputs, int, Placed]], suppression: Suppression, protocol: Protocol) -> Best:
    """All of post-processing for one image, compiled where it can be.

    Args:
        views: the image's views: outputs of a batch as the contract has them (`check_detections`), the row in that
            batch, and where the image lay on that row's canvas.

    The compiled way and the numpy way (`to_candidates`, then `suppress`) take the same boxes in the same order, with
    scores equal but for the last digit of `exp`. Merging, the official rewriting in place and a Saccade's cuts are
    numpy's alone.
    """
    if suppression.labels is not None:
        views = [(_of_classes(raw, row, suppression.labels), 0, placement) for raw, row, placement in views]
    library = native.load()
    placed = [(raw, row, placement) for raw, row, placement in views if isinstance(placement, Placement)]
    in_numpy = suppression.merge_exponent is not None or rewrites_in_place(suppression, protocol)
    if library is None or in_numpy or len(placed) < len(views):
        candidates = [to_candidates(raw, row, placement, protocol) for raw, row, placement in views]
        return Best(*suppress(candidates, suppression, protocol))
    assert all(values.flags.c_contiguous for raw, _, _ in placed for values in raw)
    table = [_native_view(raw, row, placement, protocol) for raw, row, placement in placed]
    most = sum(view.count for view in table)
    best = native.suppress(library, table, _native_rule(suppression, protocol, min(suppression.max_per_image, most)))
    if not isinstance(suppression.score_threshold, tuple):
        return best
    kept = suppression.keeps(best.scores, best.labels)
    return Best(best.boxes[kept], best.scores[kept], best.labels[kept])


def _of_classes(raw: Outputs, row: int, labels: Sequence[int]) -> RawDetections:
    """The rows of some classes alone, as a batch of one image: what is not asked for takes no place among the best."""
    count = int(raw.counts[row])
    kept = np.isin(raw.labels[row, :count], labels)
    counts = np.array([kept.sum()], np.int32)
    boxes, scores, corner_scores, all_labels = (np.ascontiguousarray(v[row, :count][kept][None]) for v in raw[:4])
    return RawDetections(boxes, scores, corner_scores, all_labels, counts)


def rewrites_in_place(suppression: Suppression, protocol: Protocol) -> bool:
    """Whether the result depends on the order in which the official soft-NMS rewrites its array."""
    return protocol.in_place and suppression.method is not None


def _native_view(raw: Outputs, row: int, placement: Placement, protocol: Protocol) -> native.View:
    (rows, columns), (vertical, horizontal) = placement.resized, placement.scale
    num_dets = raw.scores.shape[1]
    return native.View(
        boxes=raw.boxes.ctypes.data + 16 * num_dets * row,
        scores=raw.scores.ctypes.data + 4 * num_dets * row,
        labels=raw.labels.ctypes.data + 4 * num_dets * row,
        mirror_axis=placement.mirror_axis(protocol) if placement.mirrored else 0,
        left=placement.left,
        top=placement.top,
        right=columns if protocol.clip_far_side else math.inf,
        bottom=rows if protocol.clip_far_side else math.inf,
        horizontal=horizontal,
        vertical=vertical,
        count=int(raw.counts[row]),
        mirrored=placement.mirrored is not None,
    )


def _native_rule(suppression: Suppression, protocol: Protocol, limit: int) -> native.Rule:
    return native.Rule(
        minus_inverse_sigma=np.float32(-1 / suppression.sigma),
        iou_threshold=suppression.iou_threshold,
        min_score=suppression.lowest_score,
        iou_pixel=protocol.iou_pixel,
        method=native.METHODS[suppression.method],
        limit=limit,
        drop_empty=protocol.drop_empty,
    )


def to_candidates(raw: Outputs, row: int, placement: Placed, protocol: Protocol) -> Candidates:
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
    if rewrites_in_place(suppression, protocol):
        boxes, scores, labels = _suppress_in_place(joined, suppression, protocol)
    else:
        picked = soft_nms(
            joined.boxes,
            joined.scores,
            joined.labels,
            method=suppression.method,
            sigma=suppression.sigma,
            iou_threshold=suppression.iou_threshold,
            min_score=suppression.lowest_score,
            limit=suppression.max_per_image,
            iou_pixel=protocol.iou_pixel,
            corner_scores=joined.corner_scores,
            merge_exponent=suppression.merge_exponent,
        )
        boxes, scores, labels = picked.boxes, picked.scores, joined.labels[picked.rows]
    if suppression.score_threshold != 0:
        kept = suppression.keeps(scores, labels)
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
