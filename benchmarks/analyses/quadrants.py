"""Table 3: how well corners are found in each quadrant of the image: corner pooling looks further from some.

The paper (section 4.4.2) calls it a binary classification: "the ground-truth location of a corner is positive, and any
location outside of a small radius of the corner is negative", measured as mAP over all classes. Where it is silent:

* Predictions are the K peaks of a branch that the deployed decoder keeps, at their sub-cell position, with the
  heatmap's score.
* The radius is 2.5 cells (the only fixed radius the paper names, section 4.4.3), Euclidean, borders included.
* Best score first, a peak claims the nearest corner of its class within the radius that no better peak has claimed:
  a true positive. If all corners within the radius are claimed it is neither right nor wrong: only locations outside of
  the radius are negative. A peak with no corner of its class within the radius is a false positive, unless it lies in
  a crowd region of its class, where it is not counted.
* The middle lines of the image (not of the padded canvas) part it into quadrants; points on a line count right, below.
  A true positive counts in its corner's quadrant, a false positive in its own.
* AP per class and quadrant as COCO: precision made monotonous, mean over 101 recalls; classes without a corner in
  the quadrant are left out of the mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cornernet.benchmarks.analyses.analyses_report import Cell, Table, difference
from cornernet.benchmarks.analyses.observe import Network, Observation, SharedClasses, Truth, corners
from cornernet.engine.reading.images import read_image
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.deploy.decode import Corners

RADIUS = 2.5
"""[cell]"""

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
BRANCHES = ("top-left corners", "bottom-right corners")

QuadrantAP = dict[str, dict[str, float]]
"""Branch -> quadrant, or "all" -> mAP; -1 where there is no corner."""


class Peaks(NamedTuple):
    """Peaks of one branch in one image, best first. xy (n, 2) [cell]; scores, labels (n,)."""

    xy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def corner_map_by_quadrant(
    network: Network, dataset: CocoDataset, *, radius: float = RADIUS, progress: Callable[[int], None] | None = None
) -> QuadrantAP:
    """Corner mAP of both branches in each quadrant and in the whole image. Raises ImageError."""
    classes = SharedClasses(network.card, dataset)
    tallies = {branch: Tally() for branch in BRANCHES}
    for sample in dataset.samples:
        seen = network.observe(read_image(sample.path))
        truth = classes.truth(sample)
        for number, found in enumerate(corners(seen.heads, network.card.decoder)):
            tallies[BRANCHES[number]].add(peaks_of(found), truth, seen, number, radius)
        if progress is not None:
            progress(1)
    return {branch: tally.mean_ap() for branch, tally in tallies.items()}


class Tally:
    """Scored peaks and numbers of corners of one branch, per (quadrant, class); quadrant "all" is the whole image."""

    def __init__(self) -> None:
        self.scored: dict[tuple[str, int], list[tuple[float, bool]]] = defaultdict(list)
        self.corners: dict[tuple[str, int], int] = defaultdict(int)

    def add(self, peaks: Peaks, truth: Truth, seen: Observation, branch: int, radius: float) -> None:
        """Count one image's peaks and corners of `branch` (0 top-left, 1 bottom-right)."""
        truth_xy, middle = seen.to_cells(truth.boxes)[:, 2 * branch : 2 * branch + 2], _middle(seen)
        for point, label in zip(truth_xy, truth.labels.tolist()):
            for region in (quadrant(point, middle), "all"):
                self.corners[region, label] += 1
        crowds = seen.to_cells(truth.crowd_boxes)
        for row, corner in enumerate(match_peaks(peaks, truth_xy, truth.labels, radius)):
            label, point = int(peaks.labels[row]), peaks.xy[row]
            if corner == CLAIMED or (corner == NOTHING and _inside(point, crowds[truth.crowd_labels == label])):
                continue
            where = point if corner == NOTHING else truth_xy[corner]
            for region in (quadrant(where, middle), "all"):
                self.scored[region, label].append((float(peaks.scores[row]), corner != NOTHING))

    def mean_ap(self) -> dict[str, float]:
        """Quadrant, or "all" -> mean AP over the classes that have a corner there; -1 if none has."""
        means = {}
        for region in (*QUADRANTS, "all"):
            values = [
                average_precision(self.scored[region, label], count)
                for (where, label), count in sorted(self.corners.items())
                if where == region
            ]
            means[region] = float(np.mean(values)) if values else -1.0
        return means


NOTHING, CLAIMED = -1, -2


def match_peaks(peaks: Peaks, truth_xy: np.ndarray, truth_labels: np.ndarray, radius: float) -> list[int]:
    """For each peak the index of the corner it claims, NOTHING (none of its class within `radius`) or CLAIMED."""
    free = np.ones(len(truth_xy), bool)
    matches = []
    for point, label in zip(peaks.xy, peaks.labels):
        distance = np.hypot(*(truth_xy - point).T)
        near = (distance <= radius) & (truth_labels == label)
        open_corners = np.flatnonzero(near & free)
        if len(open_corners):
            match = int(open_corners[np.argmin(distance[open_corners])])
            free[match] = False
        else:
            match = CLAIMED if near.any() else NOTHING
        matches.append(match)
    return matches


def average_precision(scored: Sequence[tuple[float, bool]], positives: int) -> float:
    """COCO's 101-point AP of (score, is a true positive) with `positives` > 0 to find."""
    if not scored:
        return 0.0
    scores, hits = (np.array(values) for values in zip(*scored))
    order = np.argsort(-scores, kind="stable")
    true = np.cumsum(hits[order])
    precision = true / np.arange(1, len(true) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(true / positives, np.linspace(0, 1, 101), side="left")
    return float(np.append(envelope, 0.0)[np.minimum(reached, len(envelope))].mean())


def quadrant(point: np.ndarray, middle: np.ndarray) -> str:
    """Name of the quadrant of `point`, both (2,) x, y of one frame."""
    right, below = (point >= middle).tolist()
    return QUADRANTS[2 * below + right]


def peaks_of(found: Corners) -> Peaks:
    """The corners that exist, of a batch of one."""
    real = (found.labels[0] >= 0).numpy()
    xy = np.column_stack((found.x[0].numpy(), found.y[0].numpy())).astype(np.float64)
    return Peaks(xy[real], found.scores[0].numpy()[real], found.labels[0].numpy()[real])


def _middle(seen: Observation) -> np.ndarray:
    """Centre of the image, not of its canvas, (2,) [cell]."""
    height, width = seen.image.shape[:2]
    return seen.to_cells(np.array([[0, 0, width, height]], np.float32))[0].reshape(2, 2).mean(axis=0)


def _inside(point: np.ndarray, boxes: np.ndarray) -> bool:
    return bool(((boxes[:, :2] <= point) & (point <= boxes[:, 2:])).all(axis=1).any())


def quadrant_tables(measured: dict[str, QuadrantAP]) -> tuple[Table, ...]:
    """Table 3, a table per branch. With two models a column of differences, second minus first, as in the paper."""
    names = list(measured)
    tables = []
    for branch in BRANCHES:
        rows: list[tuple[Cell, ...]] = []
        for region in (*QUADRANTS, "all"):
            values = [measured[name][branch][region] for name in names]
            gain = (difference(values[1], values[0]),) if len(values) == 2 else ()
            rows.append(("whole image" if region == "all" else f"{region} quadrant", *values, *gain))
        heads = ("where", *(f"mAP {name}" for name in names), *(("improvement",) if len(names) == 2 else ()))
        tables.append(Table(f"{branch.capitalize()} (Table 3)", heads, tuple(rows)))
    return tuple(tables)
