"""How precision, recall and F1 of a class go with the score, as curves of 101 points, at IoU 0.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cornernet.engine.scoring.best_threshold import Matched

POINTS = 101
"""Recall, or threshold, 0, 0.01, ..., 1: those at which the COCO protocol reads precision."""


@dataclass(frozen=True)
class Curve:
    """One class, or all together (category_id None).

    precision: (101,) the best that is to be had at this recall or beyond, as COCO interpolates it; 0 where the recall
        is never reached. Its mean is the class's AP50.
    F1: (101,) of the boxes with this score or more.
    """

    name: str
    category_id: int | None
    precision: tuple[float, ...]
    F1: tuple[float, ...]


def curves(matched: Sequence[Matched]) -> tuple[Curve, ...]:
    """Of those that have objects. matched: of `match_classes_apart`."""
    return tuple(
        Curve(one.name, one.category_id, _rounded(_precision(one)), _rounded(_f1(one)))
        for one in matched
        if one.objects
    )


def _precision(matched: Matched) -> np.ndarray:
    order = np.argsort(-matched.scores, kind="stable")
    found = matched.right[order].cumsum()
    precision = found / np.arange(1, len(found) + 1)
    reachable = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(found / matched.objects, np.linspace(0, 1, POINTS), side="left")
    return np.append(reachable, 0.0)[first]


def _f1(matched: Matched) -> np.ndarray:
    thresholds = np.arange(POINTS) / (POINTS - 1)
    every, right = np.sort(matched.scores), np.sort(matched.scores[matched.right])
    shown, found = (len(scores) - np.searchsorted(scores, thresholds, side="left") for scores in (every, right))
    return 2 * found / (shown + matched.objects)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values, 4).tolist())
