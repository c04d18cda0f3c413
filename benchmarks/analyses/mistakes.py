"""Figure 9 with numbers: every missed object and every false box, sorted by what went wrong.

Each box of score `threshold` or more, best first, claims the unclaimed object of its class that it overlaps most, if by
IoU 0.5 or more. What is left are missed objects and false boxes; false boxes of which half or more lies in a crowd
region of their class are not counted. A corner is found if a peak of its class of score `threshold` or more, among the
K that the decoder keeps, lies within 2.5 cells of it. The first kind that applies counts, so kinds add up.

A pair's score is the mean of its corners' (section 4.2): a certain corner with any other makes nearly 0.5, so below a
threshold of 0.5 most false boxes are such pairs.

Missed objects
    wrong class            an unclaimed box of another class overlaps it by IoU 0.5 or more
    missed ... corner      the top-left, the bottom-right, or neither corner was found
    wrong pair             both were found, but the embeddings kept apart every pair of them
    inaccurate corners     a pair was formed, but none overlaps the object by IoU 0.5
    suppressed             an accurate pair was formed, then lost: weakened by soft-NMS, or claimed by a neighbour

False boxes
    duplicate              overlaps an object of its class by IoU 0.5 or more that a better box has claimed
    wrong class            overlaps an object of another class by IoU 0.5 or more
    inaccurate corners     both its corners are corners of one object, but the IoU is below 0.5
    wrong pair             its corners are corners of two objects of its class (second row of the paper's figure)
    one wrong corner       one of its corners is an object's, the other none's: boundary evidence of different objects
                           combined, or a box cut short (first row)
    background             neither is
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cornernet.benchmarks.analyses.analyses_report import Cell, Table
from cornernet.benchmarks.analyses.observe import Network, Observation, SharedClasses, Truth, corners
from cornernet.benchmarks.analyses.quadrants import RADIUS, Peaks, peaks_of
from cornernet.engine.model_card import Decoder
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset

IOU = 0.5
MISSED = (
    "wrong class",
    "missed top-left corner",
    "missed bottom-right corner",
    "missed both corners",
    "wrong pair",
    "inaccurate corners",
    "suppressed",
)
FALSE = ("duplicate", "wrong class", "inaccurate corners", "wrong pair", "one wrong corner", "background")


@dataclass(frozen=True, eq=False)
class Mistake:
    """A missed object (`truth`) or a false box (`found`), with what it was mistaken for, if anything.

    truth, found (4,) x1 y1 x2 y2 [px, image];
    top_left, bottom_right (n, 2) [px, image]: the peaks of its class at or above the threshold.
    """

    side: Literal["missed", "false"]
    kind: str
    image: Path
    label: int
    truth: np.ndarray | None
    found: np.ndarray | None
    top_left: np.ndarray
    bottom_right: np.ndarray


@dataclass(frozen=True)
class Errors:
    """All mistakes on a data set, beside what went right."""

    mistakes: tuple[Mistake, ...]
    objects: int
    boxes: int

    def count(self, side: str, kind: str) -> int:
        return sum(mistake.side == side and mistake.kind == kind for mistake in self.mistakes)


def find_errors(
    network: Network,
    dataset: CocoDataset,
    *,
    threshold: float = 0.5,
    radius: float = RADIUS,
    progress: Callable[[int], None] | None = None,
) -> Errors:
    """Sort the mistakes of a network on a data set; see the module for what the kinds mean. Raises ImageError."""
    classes = SharedClasses(network.card, dataset)
    mistakes: list[Mistake] = []
    objects = boxes = 0
    for sample in dataset.samples:
        seen = network.observe(read_image(sample.path))
        truth = classes.truth(sample)
        found = network.detect(seen).above(threshold)
        scene = Scene(seen, truth, found, network.card.decoder, threshold=threshold, radius=radius)
        mistakes += scene.mistakes(sample.path)
        objects, boxes = objects + len(truth.boxes), boxes + len(found) - int(scene.uncounted.sum())
        if progress is not None:
            progress(1)
    return Errors(tuple(mistakes), objects, boxes)


class Scene:
    """One image: its objects, the boxes found (none below the threshold), and the peaks of both branches above it."""

    def __init__(
        self,
        seen: Observation,
        truth: Truth,
        found: Detections,
        decoder: Decoder,
        *,
        threshold: float,
        radius: float = RADIUS,
    ) -> None:
        self.seen, self.truth, self.found, self.decoder, self.radius = seen, truth, found, decoder, radius
        self.overlap = box_iou(found.boxes, truth.boxes)
        self.same_class = found.labels[:, None] == truth.labels[None]
        self.claims = claim_objects(self.overlap, self.same_class)
        self.uncounted = (self.claims < 0) & self._in_crowd()
        self.truth_cells, self.found_cells = seen.to_cells(truth.boxes), seen.to_cells(found.boxes)
        self.peaks, self.embeddings = [], []
        for branch in corners(seen.heads, decoder):
            peaks, real = peaks_of(branch), (branch.labels[0] >= 0).numpy()
            strong = peaks.scores >= threshold
            self.peaks.append(Peaks(*(values[strong] for values in peaks)))
            self.embeddings.append(branch.embeddings[0].numpy()[real][strong])

    def mistakes(self, path: Path) -> list[Mistake]:
        """Every missed object, then every false box."""
        listed = []
        for row in sorted({*range(len(self.truth.boxes))} - {*self.claims.tolist()}):
            kind, box = self.missed_kind(row)
            about = self._about(path, int(self.truth.labels[row]))
            listed.append(Mistake("missed", kind, truth=self.truth.boxes[row], found=box, **about))
        for row in np.flatnonzero((self.claims < 0) & ~self.uncounted).tolist():
            kind, box = self.false_kind(row)
            about = self._about(path, int(self.found.labels[row]))
            listed.append(Mistake("false", kind, truth=box, found=self.found.boxes[row], **about))
        return listed

    def missed_kind(self, row: int) -> tuple[str, np.ndarray | None]:
        """Why object `row` was missed, and the box that stands in its place, if any."""
        other_class = (self.claims < 0) & ~self.same_class[:, row] & (self.overlap[:, row] >= IOU)
        if other_class.any():
            return "wrong class", self.found.boxes[np.argmax(other_class)]
        first, second = self._peaks_near(0, row), self._peaks_near(1, row)
        if not len(first) and not len(second):
            return "missed both corners", None
        if not len(first):
            return "missed top-left corner", self._box_at_corner_of(row)
        if not len(second):
            return "missed bottom-right corner", self._box_at_corner_of(row)
        formed, accurate = self._pairs(first, second, row)
        if not formed.any():
            return "wrong pair", self._box_at_corner_of(row)
        return "suppressed" if (formed & accurate).any() else "inaccurate corners", self._box_at_corner_of(row)

    def false_kind(self, row: int) -> tuple[str, np.ndarray | None]:
        """What false box `row` is, and the object it was mistaken for, if any."""
        same, overlaps = self.same_class[row], self.overlap[row] >= IOU
        starts, ends = (self._shares_corner(row, columns) for columns in ((0, 1), (2, 3)))
        kinds = {
            "duplicate": overlaps & same,
            "wrong class": overlaps & ~same,
            "inaccurate corners": starts & ends,
            "wrong pair": starts & ends.any(),
            "one wrong corner": starts | ends,
        }
        for kind, objects in kinds.items():
            if objects.any():
                return kind, self.truth.boxes[np.argmax(objects)]
        return "background", None

    def _peaks_near(self, branch: int, row: int) -> np.ndarray:
        """Indices of the peaks that count as a corner of object `row`; branch 0 is top-left, 1 bottom-right."""
        peaks = self.peaks[branch]
        corner = self.truth_cells[row, 2 * branch : 2 * branch + 2]
        near = np.hypot(*(peaks.xy - corner).T) <= self.radius
        return np.flatnonzero(near & (peaks.labels == self.truth.labels[row]))

    def _pairs(self, first: np.ndarray, second: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs of these peaks the decoder forms, and which overlap object `row`: two (first, second) bool."""
        start, end = self.peaks[0].xy[first][:, None], self.peaks[1].xy[second][None]
        distance = np.abs(self.embeddings[0][first][:, None] - self.embeddings[1][second][None])
        formed = (distance <= np.float32(self.decoder.max_distance)) & (end >= start).all(axis=2)
        boxes = np.concatenate(np.broadcast_arrays(start, end), axis=2).reshape(-1, 4)
        boxes_px = np.hstack((self.seen.to_pixels(boxes[:, :2]), self.seen.to_pixels(boxes[:, 2:])))
        overlap = box_iou(boxes_px, self.truth.boxes[row : row + 1])
        return formed, (overlap >= IOU).reshape(formed.shape)

    def _shares_corner(self, row: int, columns: tuple[int, int]) -> np.ndarray:
        """(objects,) bool: of the class of found box `row`, with a corner within the radius of the box's."""
        apart = self.truth_cells[:, columns] - self.found_cells[row, columns]
        return (np.hypot(*apart.T) <= self.radius) & self.same_class[row]

    def _box_at_corner_of(self, row: int) -> np.ndarray | None:
        """The best false box that uses a corner of object `row`."""
        for box in np.flatnonzero(self.claims < 0).tolist():
            if any(self._shares_corner(box, columns)[row] for columns in ((0, 1), (2, 3))):
                return self.found.boxes[box]
        return None

    def _in_crowd(self) -> np.ndarray:
        """(boxes,) bool: half or more of the box lies in a crowd region of its class."""
        common = intersection(self.found.boxes, self.truth.crowd_boxes)
        same = self.found.labels[:, None] == self.truth.crowd_labels[None]
        return (same & (2 * common >= area(self.found.boxes)[:, None])).any(axis=1)

    def _about(self, path: Path, label: int) -> dict[str, Any]:
        first, second = (self.seen.to_pixels(peaks.xy[peaks.labels == label]) for peaks in self.peaks)
        return {"image": path, "label": label, "top_left": first, "bottom_right": second}


def claim_objects(overlap: np.ndarray, same_class: np.ndarray) -> np.ndarray:
    """overlap, same_class (boxes best first, objects) -> (boxes,) index of the object that each claims, or -1."""
    claims = np.full(len(overlap), -1)
    free = np.where(same_class & (overlap >= IOU), overlap, -1.0)
    for row in range(len(overlap)):
        if free.shape[1] and free[row].max() > 0:
            claims[row] = int(free[row].argmax())
            free[:, claims[row]] = -1
    return claims


def area(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) -> (n,)"""
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)


def intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m) common area."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return (end - start).clip(0).prod(axis=2)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m) intersection over union; 0 for boxes without area."""
    common = intersection(first, second)
    union = area(first)[:, None] + area(second)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def error_tables(errors: Errors) -> tuple[Table, Table]:
    """How many objects were missed and boxes false, by kind, and their share of all objects, or boxes."""
    tables = []
    for side, kinds, total, what in (
        ("missed", MISSED, errors.objects, "objects"),
        ("false", FALSE, errors.boxes, "boxes"),
    ):
        counts = {kind: errors.count(side, kind) for kind in kinds}
        right = total - sum(counts.values())
        rows: list[tuple[Cell, ...]] = [("found" if side == "missed" else "right", right, _share(right, total))]
        rows += [(kind, count, _share(count, total)) for kind, count in counts.items()]
        title = "Missed objects, by cause (Fig. 9)" if side == "missed" else "False boxes, by cause (Fig. 9)"
        tables.append(Table(title, (what, "number", "%"), (*rows, ("all", total, _share(total, total)))))
    return tables[0], tables[1]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
