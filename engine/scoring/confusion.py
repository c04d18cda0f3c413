"""What a model shows for what is there: one table of classes against classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cornernet.engine.scoring.best_threshold import CROWD, NOTHING, BestF1, claim, class_thresholds


@dataclass(frozen=True)
class Confusion:
    """Objects and shown boxes, counted in pairs.

    names, thresholds: of the n classes; a box of a lower score is not shown.
    counts: (n + 1) rows of (n + 1). Row: the class of the object, the last one: there is none, so the box is false.
        Column: the class of the box, the last one: there is none, so the object is missed.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


def confusion(truth: dict[str, Any], results: Sequence[dict[str, Any]], best: Sequence[BestF1]) -> Confusion | None:
    """Boxes at the thresholds of the best F1; None if no box was ever right, so that there is no such threshold.

    First the boxes of each class take the objects of their class, so that the diagonal is what `BestF1.found` counts;
    what is left over takes objects of other classes. Either by IoU 0.5 or more. Boxes in a crowd of their class do not
    count. truth, results: as for `match_classes_apart`.
    """
    names = {entry["id"]: entry["name"] for entry in reversed(truth["categories"])}
    ids = sorted(names)
    thresholds = class_thresholds(best, [names[category] for category in ids])
    if thresholds is None:
        return None
    place = {category: number for number, category in enumerate(ids)}
    objects = _by_image(truth["annotations"])
    shown = _by_image(row for row in results if row["score"] >= thresholds[place[row["category_id"]]])
    counts = np.zeros((len(ids) + 1, len(ids) + 1), np.int64)
    for image in objects.keys() | shown.keys():
        for there, said in _pairs(objects[image], shown[image]):
            counts[place.get(there, -1), place.get(said, -1)] += 1
    return Confusion(tuple(names[category] for category in ids), thresholds, tuple(map(tuple, counts.tolist())))


def _pairs(objects: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Of one image: (class of the object or None, class of the box or None)."""
    pairs, left_boxes, left_objects = [], [], []
    for category in {entry["category_id"] for entry in (*objects, *boxes)}:
        own = [entry for entry in objects if entry["category_id"] == category]
        mine = _best_first(entry for entry in boxes if entry["category_id"] == category)
        claimed = claim(mine, own)
        pairs += [(category, category)] * int((claimed >= 0).sum())
        left_boxes += [box for box, taken in zip(mine, claimed) if taken == NOTHING]
        left_objects += [one for row, one in enumerate(own) if row not in claimed and not one.get("iscrowd")]
    left_boxes = _best_first(left_boxes)
    claimed = claim(left_boxes, left_objects)
    assert CROWD not in claimed
    for box, taken in zip(left_boxes, claimed):
        pairs.append((None if taken == NOTHING else left_objects[taken]["category_id"], box["category_id"]))
    pairs += [(one["category_id"], None) for row, one in enumerate(left_objects) if row not in claimed]
    return pairs


def _best_first(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: -entry["score"])


def _by_image(entries: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"]].append(entry)
    return groups
