"""The numbers of a data set: pictures, objects of each class, sizes as the network will see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.survey.same_pictures import same_pictures
from cornernet.engine.survey.survey_warnings import SMALL_PX, small_objects, split_warnings, warnings_between

SIDES = (8, 16, 32, 64, 128, 256)
"""Bounds [px, canvas] between which the sides of boxes are counted."""

ASPECTS = (1 / 3, 2 / 3, 3 / 2, 3)
"""Bounds of width / height, likewise."""

ASPECT_NAMES = ("below 1:3", "1:3 to 2:3", "2:3 to 3:2", "3:2 to 3:1", "above 3:1")
SIDE_NAMES = (f"below {SIDES[0]}", *(f"{a} to {b}" for a, b in pairwise(SIDES)), f"above {SIDES[-1]}")


@dataclass(frozen=True)
class SplitSurvey:
    """One split. Crowd regions are counted apart and nowhere else.

    empty:   pictures without an object.
    most:    objects in the fullest picture.
    picture_sizes: the smallest, the median and the largest picture by area, (height, width) [px].
    classes: objects of each class, in order of the labels.
    sides:   objects by the square root of their area on the canvas [px], see `SIDES`.
    aspects: objects by width / height, see `ASPECTS`.
    small:   part of the objects below `SMALL_PX` on the canvas, 0 to 1.
    """

    pictures: int
    objects: int
    crowds: int
    empty: int
    most: int
    picture_sizes: tuple[tuple[int, int], ...]
    classes: dict[str, int]
    sides: dict[str, int]
    aspects: dict[str, int]
    small: float


@dataclass(frozen=True)
class Survey:
    """A data set as `size` (height, width) [px], the canvas, shows it; warnings, the gravest first."""

    dataset: str
    layout: str
    size: tuple[int, int]
    splits: dict[str, SplitSurvey]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self, most_warnings: int = 3) -> list[str]:
        """The short form: a line a split, and the first warnings."""
        shown = [f"{name}: {_short(split)}" for name, split in self.splits.items()]
        shown += [f"warning: {line}" for line in self.warnings[:most_warnings]]
        if len(self.warnings) > most_warnings:
            shown.append(f"{len(self.warnings) - most_warnings} more warnings: `cornernet dataset` shows them")
        return shown


def survey(
    splits: Mapping[str, CocoDataset],
    *,
    size: tuple[int, int],
    resize: Literal["fit", "original"] = "fit",
    dataset: str = "",
    layout: str = "",
    unusable: Sequence[str] = (),
    with_problems: bool = True,
) -> Survey:
    """Count, and warn. Reads no picture but heads of those whose files have the same number of bytes.

    Args:
        splits:   by their names, the one to train on first; of it too small objects are reported.
        size:     (height, width) [px] of the canvas; resize: how pictures come onto it, as in `AugmentConfig`.
        unusable: report lines of pictures that were looked at and cannot be used.
        with_problems: what reading mended or left out is among the warnings.
    """
    surveys = {name: _survey_split(data, size, resize) for name, data in splits.items()}
    warnings = [f"{len(unusable)} pictures cannot be used, such as {'; '.join(unusable[:3])}"] if unusable else []
    warnings += warnings_between(splits, same_pictures(splits))
    first = next(iter(splits), None)
    if first is not None:
        warnings += small_objects(first, splits[first], sides_on_canvas(splits[first], size, resize), size)
    for name, data in splits.items():
        warnings += split_warnings(name, data, with_problems=with_problems)
    return Survey(dataset, layout, size, surveys, tuple(warnings))


def sides_on_canvas(data: CocoDataset, size: tuple[int, int], resize: Literal["fit", "original"]) -> np.ndarray:
    """(n, 2) float64 [px, canvas]: width and height of every object but crowds, in order of the samples."""
    parts = [np.zeros((0, 2))]
    for sample in data.samples:
        boxes = sample.boxes[~sample.crowd].astype(np.float64)
        fit = min(size[0] / sample.height, size[1] / sample.width) if resize == "fit" else 1.0
        parts.append(fit * (boxes[:, 2:] - boxes[:, :2]))
    return np.concatenate(parts)


def _survey_split(data: CocoDataset, size: tuple[int, int], resize: Literal["fit", "original"]) -> SplitSurvey:
    counts = [int((~sample.crowd).sum()) for sample in data.samples]
    labels = np.concatenate([np.zeros(0, np.int64), *(sample.labels[~sample.crowd] for sample in data.samples)])
    per_class = np.bincount(labels, minlength=len(data.class_names)).tolist()
    on_canvas = sides_on_canvas(data, size, resize)
    sides = np.sqrt(on_canvas.prod(axis=1))
    by_area = sorted(((sample.height, sample.width) for sample in data.samples), key=lambda side: side[0] * side[1])
    return SplitSurvey(
        pictures=len(data),
        objects=len(labels),
        crowds=sum(int(sample.crowd.sum()) for sample in data.samples),
        empty=counts.count(0),
        most=max(counts, default=0),
        picture_sizes=tuple(by_area[place] for place in (0, len(by_area) // 2, -1)) if by_area else (),
        classes=_named(data.class_names, per_class),
        sides=_histogram(sides, SIDES, SIDE_NAMES),
        aspects=_histogram(on_canvas[:, 0] / on_canvas[:, 1], ASPECTS, ASPECT_NAMES),
        small=float((sides < SMALL_PX).mean()) if len(sides) else 0.0,
    )


def _histogram(values: np.ndarray, bounds: Sequence[float], names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(np.digitize(values, bounds), minlength=len(names)).tolist()))


def _named(names: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    """Classes of one name are told apart by their number."""
    found: dict[str, int] = {}
    for label, (name, count) in enumerate(zip(names, counts)):
        found[name if name not in found else f"{name} ({label})"] = count
    return found


def _short(split: SplitSurvey) -> str:
    balance = sorted(split.classes.items(), key=lambda pair: -pair[1])
    listed = ", ".join(f"{count} {name}" for name, count in balance[:4])
    more = f" and {len(balance) - 4} more classes" if len(balance) > 4 else ""
    empty = f"; {split.empty} without" if split.empty else ""
    return f"{split.pictures} pictures, {split.objects} objects ({listed}{more}){empty}"
