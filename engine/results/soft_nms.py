"""Soft-NMS (Bodla et al. 2017): take the strongest box, weaken those of its class by their overlap with it, repeat.

The definition, and a slow twin in the tests: among all boxes not yet taken, take the one with the highest current score
(ties: the higher original score, then the lower row), multiply the others of its class by a weight, until `limit` are
taken or none reaches `min_score`. Scores only fall, so this gives the best `limit` of separate runs per class without
finishing them.

Budget: 2,000 candidates in under 2 ms on one core. Three things make that possible with numpy alone:
  * a heap of the classes' best boxes, so one pick touches one class;
  * laziness: an original score bounds the current one from above, so a box is weighed only once its original score
    could win; until then it waits in a sorted tail, and catches up with the boxes taken before in one vectorised step;
  * coordinates as (x1, y1, -x2, -y2), so that intersection is one maximum instead of four calls.
"""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

Method = Literal["gaussian", "linear", "hard"]

_ZERO = np.zeros((), np.float32)
"""An array: converting a Python number at every call costs as much as the operation."""

_BLOCK = 256
"""So many boxes of a class are weighed from the start, and so many more whenever one that waits could be the best."""


class Picked(NamedTuple):
    """The boxes that were taken, in that order, which is also that of their scores.

    rows   (m,)   int64    rows of the input
    scores (m,)   float32  after decay
    boxes  (m, 4) float32  the input's, or merged
    """

    rows: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray


def soft_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    method: Method | None = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 0.001,
    limit: int = 100,
    iou_pixel: int = 0,
    corner_scores: np.ndarray | None = None,
    merge_exponent: float | None = None,
) -> Picked:
    """The best `limit` boxes of all classes after soft-NMS within each class.

    Args:
        boxes: (n, 4) float32 [px] x1 y1 x2 y2; scores: (n,) float32 in [0, 1]; labels: (n,) int.
        method: weight of a box with overlap v: "gaussian" exp(-v^2 / sigma); "linear" 1 - v above iou_threshold;
            "hard" 0 above it; None takes the best boxes and weighs nothing.
        iou_pixel: added to widths and heights in IoU (1: the official pixel convention).
        corner_scores, merge_exponent: (n, 2) float32 and the official `weight_exp`: a box taken becomes the mean of
            itself and the boxes it weakens, each counting (1 - weight)^merge_exponent times its top-left score for x1,
            y1 and bottom-right score for x2, y2.
    """
    min_score = max(min_score, float(np.finfo(np.float32).tiny))  # boxes taken are marked by a score below this
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= min_score]
    if method is None:
        order = order[:limit]
        return Picked(order, scores[order], boxes[order])
    weigh = _Weight(method, sigma, iou_threshold)
    ranks = np.argsort(labels[order], kind="stable")  # class by class, each sorted by score
    rows = order[ranks]
    table = _Table(boxes[rows], scores[rows], iou_pixel)
    queue: list[tuple[float, int, _ClassQueue]] = []
    for start, stop in pairwise(np.flatnonzero(np.diff(labels[rows], prepend=-1, append=-1)).tolist()):
        # A box that waits is not weighed, so it could not be merged either: merging gives up laziness.
        waiting = stop if merge_exponent is not None else min(stop, start + _BLOCK)
        members = _ClassQueue(table, weigh, start, waiting, stop, min_score)
        queue.append((-float(table.scores[start]), int(ranks[start]), members))
    heapq.heapify(queue)
    taken: list[int] = []
    taken_scores: list[float] = []
    taken_boxes: list[np.ndarray] = []
    while queue and len(taken) < limit:
        negative_score, _, members = queue[0]
        place = members.best_place
        taken.append(place)
        taken_scores.append(-negative_score)
        if merge_exponent is None:
            members.take_best()
        else:
            assert corner_scores is not None, "merging needs the corner scores"
            alive, places = members.current >= min_score, members.places
            share = (1 - members.take_best()) ** np.float32(merge_exponent)
            alive[members.best] = False
            taken_boxes.append(merge(rows[place], rows[places[alive]], share[alive], boxes, corner_scores))
        score = members.find_best()
        if score < min_score:
            heapq.heappop(queue)
        else:
            heapq.heapreplace(queue, (-score, int(ranks[members.best_place]), members))
    picked = rows[taken]
    kept_boxes = boxes[picked] if merge_exponent is None else np.array(taken_boxes, np.float32).reshape(-1, 4)
    return Picked(picked, np.array(taken_scores, np.float32), kept_boxes)


def merge(row: int, others: np.ndarray, share: np.ndarray, boxes: np.ndarray, corner_scores: np.ndarray) -> np.ndarray:
    """Box `row` averaged with `others` (m,), which count `share` (m,), by corner scores -> (4,) float32 [px]."""
    rows = np.append(row, others)
    weights = corner_scores[rows] * np.append(np.float32(1), share)[:, None]  # top-left, bottom-right
    weights = np.repeat(weights, 2, axis=1).astype(np.float64)
    total = weights.sum(axis=0)
    if not total.all():
        return boxes[row]
    return ((boxes[rows] * weights).sum(axis=0) / total).astype(np.float32)


class _Weight:
    """The factor by which a box taken weakens another one of its class."""

    def __init__(self, method: Method, sigma: float, iou_threshold: float) -> None:
        self.method = method
        self.minus_inverse_sigma = np.float32(-1 / sigma)
        self.iou_threshold = np.float32(iou_threshold)

    def __call__(
        self, edges: np.ndarray, areas: np.ndarray, taken: np.ndarray, taken_areas: np.ndarray, scratch: np.ndarray
    ) -> np.ndarray:
        """Edges (4, ...) x1 y1 -x2 -y2 and areas (...), broadcast against those of boxes taken -> weights (...) f32.

        scratch: (5, ...) float32 to work in; the result is its last row.
        """
        inner, overlap = scratch[:4], scratch[4]
        np.maximum(edges, taken, out=inner)
        minus_sides = np.add(inner[:2], inner[2:], out=inner[:2])
        np.minimum(minus_sides, _ZERO, out=minus_sides)
        common = np.multiply(inner[0], inner[1], out=inner[2])
        np.add(areas, taken_areas, out=overlap)
        overlap -= common
        np.divide(common, overlap, out=overlap)
        if self.method == "gaussian":
            overlap *= overlap
            overlap *= self.minus_inverse_sigma
            return np.exp(overlap, out=overlap)
        weak = 0 if self.method == "hard" else 1 - overlap
        return np.where(overlap <= self.iou_threshold, np.float32(1), weak)


class _Table:
    """All boxes, class by class, best first: edges (4, n) x1 y1 -x2 -y2 [px], areas (n,), scores (n,), places (n,)."""

    def __init__(self, boxes: np.ndarray, scores: np.ndarray, iou_pixel: int) -> None:
        corners = boxes.T
        self.edges = np.concatenate((corners[:2], -corners[2:] - np.float32(iou_pixel)))
        minus_sides = np.minimum(self.edges[:2] + self.edges[2:], 0)
        self.areas = np.maximum(minus_sides[0] * minus_sides[1], np.float32(1e-12))  # empty boxes divide by no zero
        self.scores = scores
        self.places = np.arange(len(scores))


class _ClassQueue:
    """One class: places start..stop of the table. Those before `waiting` were weighed, those from it on wait.

    places, edges, areas: of the boxes weighed, without those found dead; current: their scores now, -1 once taken.
    """

    def __init__(self, table: _Table, weigh: _Weight, start: int, waiting: int, stop: int, min_score: float) -> None:
        self.table, self.weigh, self.min_score = table, weigh, min_score
        self.waiting, self.stop = waiting, stop
        self.places = table.places[start:waiting]
        self.edges = table.edges[:, start:waiting]
        self.areas = table.areas[start:waiting]
        self.current = table.scores[start:waiting].copy()
        self.scratch = np.empty((5, waiting - start), np.float32)
        self.best = 0
        self.taken: list[int] = []

    @property
    def best_place(self) -> int:
        return int(self.places[self.best])

    def take_best(self) -> np.ndarray:
        """Take the best box -> the weights that it gave to those weighed."""
        best = slice(self.best, self.best + 1)
        weights = self.weigh(self.edges, self.areas, self.edges[:, best], self.areas[best], self.scratch)
        self.taken.append(self.best_place)
        self.current *= weights
        self.current[best] = -1
        return weights

    def find_best(self) -> float:
        """Find the best box not yet taken, weighing those that could be it -> its score, -1 if there is none."""
        while True:
            self.best = int(self.current.argmax())
            score = self.current[self.best]
            if self.waiting == self.stop or score >= self.table.scores[self.waiting]:
                return float(score)
            self._refill()

    def _refill(self) -> None:
        """Drop the dead, let a block of waiting boxes in; it catches up with the boxes taken before, in order."""
        table, taken = self.table, self.taken
        kept = self.current >= self.min_score
        new = slice(self.waiting, min(self.waiting + _BLOCK, self.stop))
        scratch = np.empty((5, len(taken), new.stop - new.start), np.float32)
        weights = self.weigh(
            table.edges[:, None, new],
            table.areas[None, new],
            table.edges[:, taken, None],
            table.areas[taken, None],
            scratch,
        )
        # Row by row, so that the product rounds exactly as if these boxes had been weighed from the start.
        current = np.multiply.reduce(np.vstack((table.scores[new], weights)), axis=0)
        self.places = np.concatenate((self.places[kept], table.places[new]))
        self.edges = np.concatenate((self.edges[:, kept], table.edges[:, new]), axis=1)
        self.areas = np.concatenate((self.areas[kept], table.areas[new]))
        self.current = np.concatenate((self.current[kept], current))
        self.scratch = np.empty((5, len(self.current)), np.float32)
        self.waiting = new.stop
