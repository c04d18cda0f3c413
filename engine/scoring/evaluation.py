"""A detector scored on a data set, by the COCO protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cornernet.engine.errors import DatasetError
from cornernet.engine.printable import printable
from cornernet.engine.scoring.best_threshold import BestF1, best_thresholds, match_classes_apart
from cornernet.engine.scoring.coco_entries import whole_number
from cornernet.engine.scoring.coco_samples import coco_content
from cornernet.engine.scoring.coco_stats import (
    STATS,
    ClassStats,
    Evaluator,
    Stats,
    coco_stats,
    find_evaluator,
    load_json,
    numeric_truth,
)
from cornernet.engine.scoring.confusion import Confusion, confusion
from cornernet.engine.scoring.curves import Curve, curves

if TYPE_CHECKING:
    from cornernet.engine.detector import Detector
    from cornernet.engine.results.detections import Detections
    from cornernet.engine.scoring.coco import CocoDataset, Sample

__all__ = [
    "STATS",
    "ClassStats",
    "EvaluationReport",
    "Evaluator",
    "Stats",
    "coco_stats",
    "evaluate",
    "json_text",
    "match_classes",
    "result_entries",
    "scored_truth",
]


@dataclass(frozen=True)
class EvaluationReport:
    """A detector scored on a data set.

    results: the detections in COCO's result format, in the order of the data set.
    errors:  (image file, message) of images that gave no detections because they could not be used.
    best_f1: the threshold that shows most of what is right and least of what is wrong, for all classes and for each.
    curves:  precision over recall and F1 over the threshold, likewise.
    confusion: what is shown for what is there, at these thresholds; None if no box was right.
    notes:   what the reader of the numbers has to know, such as classes that the model lacks.
    """

    model: str
    dataset: str
    stats: Stats
    best_f1: tuple[BestF1, ...]
    curves: tuple[Curve, ...]
    confusion: Confusion | None
    results: list[dict[str, Any]]
    errors: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """`errors` as lines, each with the name of its image, once."""
        return tuple(message if image in message else f"{image}: {message}" for image, message in self.errors)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the detections."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            **self.stats.to_dict(),
            "best_f1": [asdict(best) for best in self.best_f1],
            "curves": [asdict(curve) for curve in self.curves],
            "confusion": asdict(self.confusion) if self.confusion else None,
            "errors": [{"image": image, "error": message} for image, message in self.errors],
            "notes": list(self.notes),
        }

    def write_results(self, path: str | Path) -> None:
        """Write the detections as a COCO result file."""
        Path(path).write_text(json.dumps(self.results), encoding="utf-8")


def json_text(content: dict[str, Any]) -> str:
    """JSON with a line per entry, but a list of numbers on one: a curve would be a hundred lines."""
    # The newline after the bracket is none of a string's: JSON writes that as a backslash and an n.
    numbers = re.compile(r"\[\n\s*((?:-?[\d.]+(?:e[-+]?\d+)?,?\n\s*)+)\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(content, indent=1)) + "\n"


def evaluate(
    detector: Detector,
    dataset: CocoDataset,
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    evaluator: Evaluator = "auto",
) -> EvaluationReport:
    """Detect on every image of the data set and score against its annotation file.

    Images run in order of their size, so that those of one shape share batches. An image that cannot be used counts as
    one without detections and is named in the report.

    Args:
        detector: with its own settings (resize, mirrored view, scales, protocol); boxes of every score count, unless it
            was given a threshold of its own.
        progress: called with the number of images just finished.

    Raises:
        DatasetError: the model and the data set have no class in common.
        BackendError: the evaluator is not installed.
    """
    find_evaluator(evaluator)  # if it is not there, this is said before an hour of work
    card = detector.card
    category_of_label, notes = match_classes(card.class_names, card.category_ids, dataset)
    samples = sorted(dataset.samples, key=lambda sample: (sample.height, sample.width))
    results: dict[int, list[dict[str, Any]]] = {}
    errors = []
    resized: list[str] = []
    found_in = detector.for_evaluation().stream([sample.path for sample in samples], batch_size=batch_size)
    for sample, found in zip(samples, found_in, strict=True):
        results[sample.image_id] = result_entries(found, sample.image_id, category_of_label)
        if found.error is not None:
            errors.append((printable(sample.path), str(found.error)))
        if found.image_size is not None and found.image_size != (sample.height, sample.width):
            resized.append(_other_size(sample, found.image_size))
        if progress is not None:
            progress(1)
    ordered = [entry for sample in dataset.samples for entry in results[sample.image_id]]
    truth = scored_truth(dataset)
    numbers = numeric_truth(truth)
    matched = match_classes_apart(numbers, ordered)
    best = best_thresholds(matched)
    return EvaluationReport(
        model=card.name,
        dataset=str(dataset.annotation_file),
        stats=coco_stats(truth, ordered, evaluator=evaluator),
        best_f1=best,
        curves=curves(matched),
        confusion=confusion(numbers, ordered, best),
        results=ordered,
        errors=tuple(errors),
        notes=(*_size_note(resized, len(samples)), *notes, *map(str, dataset.problems)),
    )


def scored_truth(dataset: CocoDataset) -> dict[str, Any]:
    """The content of the annotation file as its notes describe it: without what was left out, with clipped boxes.

    Of a layout other than COCO's, what was read as COCO's lists.
    """
    if not dataset.from_coco:
        return coco_content(dataset)
    content = load_json(dataset.annotation_file, "annotation file")
    images = {sample.image_id for sample in dataset.samples}
    annotations = [
        entry if place not in dataset.mended else {**entry, "bbox": list(box)}
        for place, entry in enumerate(content["annotations"])
        if (box := dataset.mended.get(place, ())) is not None
    ]
    kept = [entry for entry in content["images"] if whole_number(entry, "id") in images]
    return {**content, "images": kept, "annotations": annotations}


def _other_size(sample: Sample, size: tuple[int, int]) -> str:
    return f"{printable(sample.path)} is {size[1]}x{size[0]}, annotated as {sample.width}x{sample.height}"


def _size_note(resized: Sequence[str], images: int) -> tuple[str, ...]:
    if not resized:
        return ()
    return (
        f"{len(resized)} of {images} pictures do not have the size that their annotations are for, so their boxes "
        f"cannot agree and THE SCORE IS TOO LOW: {resized[0]} (width x height). Use the original pictures, or scale "
        "the annotations with them",
    )


def result_entries(
    detections: Detections, image_id: int, category_of_label: Sequence[int | None]
) -> list[dict[str, Any]]:
    """One image's detections in COCO's result format: x y width height [px]. Labels mapped to None are left out."""
    return [
        {**entry, "category_id": category_of_label[label]}
        for entry, label in zip(detections.to_coco(image_id), detections.labels.tolist(), strict=True)
        if category_of_label[label] is not None
    ]


def match_classes(
    class_names: Sequence[str], category_ids: Sequence[int], dataset: CocoDataset
) -> tuple[list[int | None], tuple[str, ...]]:
    """The data set's category id of each label of the model (None: it has no such class), and notes.

    Names decide, without regard to case; where the data set has a name twice, the model's category id does.

    Raises:
        DatasetError: no name in common.
    """
    ids_of_name: dict[str, list[int]] = {}
    for name, category in zip(dataset.class_names, dataset.category_ids):
        ids_of_name.setdefault(name.strip().lower(), []).append(category)
    matched: list[int | None] = []
    for name, own_id in zip(class_names, category_ids):
        candidates = ids_of_name.get(name.strip().lower(), [])
        matched.append(own_id if own_id in candidates else (candidates[0] if candidates else None))
    if not any(category is not None for category in matched):
        raise DatasetError(
            f"model and data set have no class name in common: the model knows {_some(class_names)}, "
            f"{dataset.annotation_file} has {_some(dataset.class_names)}. "
            "Evaluate on the model's classes, or rename the categories in the annotation file."
        )
    unknown = [name for name, category in zip(class_names, matched) if category is None]
    absent = [name for name, category in zip(dataset.class_names, dataset.category_ids) if category not in matched]
    notes = []
    if absent:
        notes.append(f"classes the model does not know, scored as not found: {_some(absent)}")
    if unknown:
        notes.append(f"classes the data set does not have, their detections are left out: {_some(unknown)}")
    return matched, tuple(notes)


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
