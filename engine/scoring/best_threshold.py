"""The score from which on a model's boxes are worth showing: where F1, of boxes found and objects missed, is best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU = 0.5
"""A box has found an object of its class that it covers with at least this intersection over union."""


@dataclass(frozen=True)
class BestF1:
    """The threshold with the highest F1 = 2 precision recall / (precision + recall), and what it gives.

    category_id: None for all classes together at one threshold. objects: how many there are. found: right boxes.
    """

    name: str
    category_id: int | None
    threshold: float
    F1: float
    precision: float
    recall: float
    objects: int
    found: int


def class_thresholds(best: Sequence[BestF1], class_names: Sequence[str]) -> tuple[float, ...] | None:
    """One threshold a class, for `ModelCard.score_thresholds`; None if no box was right.

    best: of `best_thresholds`. A class that was never found rightly gets the threshold of all together.
    """
    if not best:
        return None
    overall, *classes = best
    measured = {one.name.casefold(): one.threshold for one in classes}
    return tuple(measured.get(name.casefold(), overall.threshold) for name in class_names)


@dataclass(frozen=True, eq=False)
class Matched:
    """The boxes of one class on all images, those in crowds left out, and how many objects it has.

    scores (n,) float64; right (n,) bool: has found an object. In no order of their own.
    """

    name: str
    category_id: int | None
    scores: np.ndarray
    right: np.ndarray
    objects: int


def match_classes_apart(truth: dict[str, Any], results: Sequence[dict[str, Any]]) -> tuple[Matched, ...]:
    """All classes that have objects together first, then each class of the ground truth.

    truth: content of a COCO annotation file. results: entries of a COCO result file, with scores from 0 on.
    """
    objects = _by_image_and_class(truth["annotations"])
    scores: dict[int, list[np.ndarray]] = defaultdict(list)
    right: dict[int, list[np.ndarray]] = defaultdict(list)
    for (image, category), entries in _by_image_and_class(results).items():
        entries = sorted(entries, key=lambda entry: -entry["score"])
        hit = match(entries, objects.get((image, category), []))
        counted = hit >= 0
        scores[category].append(np.array([entry["score"] for entry in entries])[counted])
        right[category].append(hit[counted] > 0)
    totals: dict[int, int] = defaultdict(int)
    for (_, category), entries in objects.items():
        totals[category] += sum(not entry.get("iscrowd") for entry in entries)

    def joined(name: str, category_id: int | None, categories: Sequence[int], count: int) -> Matched:
        score = [part for category in categories for part in scores[category]]
        hit = [part for category in categories for part in right[category]]
        none = np.zeros(0)
        return Matched(name, category_id, np.concatenate([none, *score]), np.concatenate([none > 0, *hit]), count)

    classes = [joined(entry["name"], entry["id"], [entry["id"]], totals[entry["id"]]) for entry in truth["categories"]]
    every = [category for category in list(scores) if totals[category]]
    return joined("all", None, every, sum(totals.values())), *classes


def best_thresholds(matched: Sequence[Matched]) -> tuple[BestF1, ...]:
    """Of all classes together first, then of each that has objects; those never found rightly are left out."""
    return tuple(best for one in matched if (best := _best(one)) is not None)


NOTHING, CROWD = -1, -2
"""In place of an object's index."""


def match(found: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]]) -> np.ndarray:
    """Per box of one class and image, best score first: 1 right, 0 wrong, -1 in a crowd, which counts as neither."""
    claimed = claim(found, objects)
    return np.where(claimed >= 0, 1, np.where(claimed == CROWD, -1, 0))


def claim(found: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]]) -> np.ndarray:
    """Per box of one image, best score first: the index of the object that it takes, NOTHING, or CROWD.

    As COCO's evaluator: each box takes the free object that it covers best; crowds may be taken again and again.
    """
    claimed = np.full(len(found), NOTHING)
    if not objects or not found:
        return claimed
    crowd = np.array([bool(entry.get("iscrowd")) for entry in objects])
    free = np.ones(len(objects), bool)
    for row, iou in enumerate(_overlaps(found, objects, crowd)):
        single = np.where(free & ~crowd, iou, -1)
        if single.max() >= IOU:
            claimed[row] = single.argmax()
            free[claimed[row]] = False
        elif crowd.any() and iou[crowd].max() >= IOU:
            claimed[row] = CROWD
    return claimed


def _overlaps(found: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]], crowd: np.ndarray) -> np.ndarray:
    """(found, objects) intersection over union; over the box's own area where the object is a crowd."""
    ours, theirs = (np.array([entry["bbox"] for entry in side], np.float64) for side in (found, objects))
    a, b = ours[:, None], theirs[None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(axis=2)
    own = a[..., 2:].prod(axis=2)
    union = np.where(crowd, own, own + b[..., 2:].prod(axis=2) - shared)
    return shared / np.maximum(union, np.finfo(np.float64).tiny)


def _best(matched: Matched) -> BestF1 | None:
    objects = matched.objects
    if not objects or not matched.right.any():
        return None
    order = np.argsort(-matched.scores, kind="stable")
    score, hit = matched.scores[order], matched.right[order].cumsum()
    ends = np.flatnonzero(np.append(score[1:] < score[:-1], True))  # equal scores come and go together
    f1 = 2 * hit[ends] / (ends + 1 + objects)
    chosen = int(f1.argmax())
    last = ends[chosen]
    # Half way to the next box: a threshold that is the score itself would hang on its last digit.
    below = score[ends[chosen + 1]] if chosen + 1 < len(ends) else 0.0
    threshold = round(float((score[last] + below) / 2), 4)
    if not below < threshold <= score[last]:  # closer together than four digits
        threshold = float(score[last])
    return BestF1(
        name=matched.name,
        category_id=matched.category_id,
        threshold=threshold,
        F1=float(f1[chosen]),
        precision=float(hit[last] / (last + 1)),
        recall=float(hit[last] / objects),
        objects=objects,
        found=int(hit[last]),
    )


def _by_image_and_class(entries: Sequence[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"], entry["category_id"]].append(entry)
    return groups
