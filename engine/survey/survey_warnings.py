"""What in a data set would spoil a training or a score. Each is a sentence with its number and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from cornernet.engine.printable import printable
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.problem_groups import grouped
from cornernet.engine.survey.same_pictures import Place

SMALL_PX = 16
"""Four cells of the heatmap at a stride of 4: corners of smaller objects are hardly apart."""

_MANY_SMALL, _MANY_EMPTY = 0.05, 0.1
_EXAMPLES = 3


def split_warnings(name: str, data: CocoDataset, *, with_problems: bool = True) -> list[str]:
    """Warnings about one split."""
    lines = [*_fractions(data), *_classes_without(data), *_twice(data), *_empty(data)]
    if with_problems:
        lines += grouped(data.problems)
    return [f"{name}: {line}" for line in lines]


def warnings_between(splits: Mapping[str, CocoDataset], same: Sequence[Sequence[Place]]) -> list[str]:
    """Warnings about splits beside each other: pictures in more than one, classes that training does not see."""
    warnings = []
    names = list(splits)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            shared = [group for group in same if {one, other} <= {member.split for member in group}]
            if shared:
                pairs = ("/".join(_first(group, split) for split in (one, other)) for group in shared)
                what = f"{len(shared)} pictures are in {one} and in {other}, so a score on one says little"
                warnings.append(f"{what}, such as {', '.join(islice(pairs, _EXAMPLES))}")
    for name in names:
        within = [[member for member in group if member.split == name] for group in same]
        if repeated := [group for group in within if len(group) > 1]:
            shown = ("/".join(printable(member.path.name) for member in group[:2]) for group in repeated)
            what = f"{name}: {sum(map(len, repeated)) - len(repeated)} pictures are there again under another name"
            warnings.append(f"{what}, such as {', '.join(islice(shown, _EXAMPLES))}")
    first, *others = names
    known = {name.strip().lower() for name in splits[first].class_names}
    for name in others:
        unknown = [own for own in splits[name].class_names if own.strip().lower() not in known]
        if unknown:
            warnings.append(f"{name}: {first} lacks the classes {', '.join(unknown[:8])}")
    return warnings


def _first(group: Sequence[Place], split: str) -> str:
    return next(printable(member.path.name) for member in group if member.split == split)


def _fractions(data: CocoDataset) -> list[str]:
    """Boxes that all lie in the first pixel were written as fractions of the picture."""
    if not data.from_coco:
        return []
    tiny = [
        (sample, box)
        for sample in data.samples
        if max(sample.width, sample.height) > 1
        for box in sample.boxes[(sample.boxes <= 1).all(axis=1)].tolist()
    ]
    objects = sum(len(sample.boxes) for sample in data.samples)
    if not tiny or len(tiny) < objects / 2:
        return []
    what = f"{len(tiny)} of {objects} boxes lie in the first pixel; are they in fractions? COCO wants pixels"
    return [f"{what}. Such as {_examples(tiny)}"]


def small_objects(name: str, data: CocoDataset, sides: np.ndarray, size: tuple[int, int]) -> list[str]:
    """Objects of a split too small on the canvas, and the classes that have most of them.

    sides: (n, 2) [px, canvas], width and height of its objects in order.
    """
    small = np.sqrt(sides.prod(axis=1)) < SMALL_PX
    if not len(small) or small.mean() < _MANY_SMALL:
        return []
    labels = np.concatenate([sample.labels[~sample.crowd] for sample in data.samples])
    most = np.bincount(labels[small], minlength=len(data.class_names)).argsort(kind="stable")[::-1][:_EXAMPLES]
    parts = [
        (data.class_names[label], small[labels == label].mean()) for label in most if (labels[small] == label).any()
    ]
    listed = ", ".join(f"{part:.0%} of {name}" for name, part in parts)
    canvas = f"{size[0]}x{size[1]}"
    return [
        f"{name}: {small.mean():.0%} of the objects are smaller than {SMALL_PX} px on a canvas of {canvas} ({listed}); "
        "they will hardly be found: train with a larger --size, or cut the pictures"
    ]


def _classes_without(data: CocoDataset) -> list[str]:
    there = {label for sample in data.samples for label in sample.labels[~sample.crowd].tolist()}
    absent = [name for label, name in enumerate(data.class_names) if label not in there]
    more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
    return [f"no object of {', '.join(absent[:8])}{more}"] if absent else []


def _twice(data: CocoDataset) -> list[str]:
    """Objects of one class whose edges agree to half a pixel."""
    found: list[tuple[Sample, list[float]]] = []
    count = 0
    for sample in data.samples:
        if len(sample.boxes) > 1:
            rows = np.column_stack([np.rint(2 * sample.boxes), sample.labels, sample.crowd])
            _, first, times = np.unique(rows, axis=0, return_index=True, return_counts=True)
            count += int((times - 1).sum())
            found += [(sample, sample.boxes[row].tolist()) for row in first[times > 1].tolist()]
    return [f"{count} boxes are there twice, such as {_examples(found)}"] if count else []


def _empty(data: CocoDataset) -> list[str]:
    empty = [sample for sample in data.samples if not len(sample.boxes)]
    if len(empty) < _MANY_EMPTY * len(data):
        return []
    names = ", ".join(printable(sample.path.name) for sample in empty[:_EXAMPLES])
    return [f"{len(empty)} of {len(data)} pictures have no object; was something left out? Such as {names}"]


def _examples(found: Sequence[tuple[Sample, list[float]]]) -> str:
    """Pictures and boxes x1 y1 x2 y2."""
    shown = ((printable(sample.path.name), ", ".join(f"{value:g}" for value in box)) for sample, box in found)
    return ", ".join(f"{name} [{box}]" for name, box in islice(shown, _EXAMPLES))
