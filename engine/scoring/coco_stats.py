"""The twelve COCO numbers of a list of boxes.

pycocotools is the reference. faster-coco-eval gives the same numbers several times faster and is taken when installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cornernet.engine.errors import DatasetError
from cornernet.engine.installation import missing
from cornernet.engine.scoring.coco_entries import is_crowd

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""AP over IoU .50:.05:.95, at .50, at .75, of small, medium, large objects; AR with 1, 10, 100 detections an image."""

Evaluator = Literal["auto", "pycocotools", "faster-coco-eval"]


@dataclass(frozen=True)
class ClassStats:
    """One class over all sizes, 100 detections per image. -1: the class has no object in the ground truth."""

    name: str
    category_id: int
    objects: int
    AP: float
    AP50: float
    AR100: float


@dataclass(frozen=True)
class Stats:
    """What `coco_stats` measured. A value is in [0, 1], or -1 where the ground truth has no object of that kind.

    values: by the names of `STATS`. by_iou: AP at one IoU threshold, "0.50" to "0.95".
    """

    values: dict[str, float]
    by_iou: dict[str, float]
    per_class: tuple[ClassStats, ...]
    images: int
    objects: int
    detections: int
    evaluator: str

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def coco_stats(
    ground_truth: str | Path | dict[str, Any],
    results: str | Path | Sequence[dict[str, Any]],
    *,
    evaluator: Evaluator = "auto",
    use_categories: bool = True,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> Stats:
    """Score boxes by the COCO protocol (bounding boxes, 100 detections per image).

    Args:
        ground_truth: a COCO annotation file or its content. `area` defaults to the box's, `iscrowd` to 0.
        results: a COCO result file or its content: image_id, category_id, bbox [x, y, width, height] [px], score.
        evaluator: which library counts; "auto" takes faster-coco-eval if it is installed.
        use_categories: False scores localisation alone: a box of any class may match.
        image_ids, category_ids: score these only.

    Raises:
        DatasetError: a file is unreadable, a result lacks a field or names an image that the ground truth lacks.
    """
    truth = numeric_truth(ground_truth)
    found = _results(results, {image["id"] for image in truth["images"]})
    library, coco_class, eval_class = find_evaluator(evaluator)
    with contextlib.redirect_stdout(io.StringIO()):  # both libraries report on stdout
        run = eval_class(_index(coco_class, truth), _index(coco_class, {**truth, "annotations": found}), "bbox")
        run.params.useCats = int(use_categories)
        if image_ids is not None:
            run.params.imgIds = sorted(image_ids)
        if category_ids is not None:
            run.params.catIds = sorted(category_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    images = {int(image) for image in run.params.imgIds}
    categories = {int(category) for category in run.params.catIds}

    def counted(entry: dict[str, Any]) -> bool:
        return entry["image_id"] in images and (not use_categories or entry["category_id"] in categories)

    return Stats(
        values=dict(zip(STATS, (float(value) for value in run.stats[:12]))),
        by_iou=_by_iou(run),
        per_class=_per_class(run, truth) if use_categories else (),
        images=len(images),
        objects=sum(counted(entry) and not entry["iscrowd"] for entry in truth["annotations"]),
        detections=sum(counted(entry) for entry in found),
        evaluator=library,
    )


def find_evaluator(asked: Evaluator) -> tuple[str, Any, Any]:
    """-> name, its COCO class, its COCOeval class. Raises BackendError if it is not installed."""
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if asked == "faster-coco-eval" or (asked == "auto" and installed):
        try:
            from faster_coco_eval import COCO, COCOeval_faster
        except ModuleNotFoundError as error:
            raise missing("faster_coco_eval", "this evaluator") from error
        return "faster-coco-eval", COCO, COCOeval_faster
    if asked not in ("auto", "pycocotools"):
        raise ValueError(f"evaluator is {asked!r}; expected 'auto', 'pycocotools' or 'faster-coco-eval'")
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise missing("pycocotools", "scoring by the COCO protocol") from error
    return "pycocotools", COCO, COCOeval


def _index(coco_class: Any, content: dict[str, Any]) -> Any:
    """A COCO object from content; not `loadRes`, which fails on an empty list and writes into its argument."""
    coco = coco_class()
    coco.dataset = content
    coco.createIndex()
    return coco


def load_json(source: str | Path | Any, what: str) -> Any:
    """The content of a file; anything but a path passes through. Raises DatasetError."""
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(Path(source).read_bytes())
    except OSError as error:
        raise DatasetError(f"{what} {source} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{what} {source} is not valid JSON: {error}") from error


def numeric_truth(source: str | Path | dict[str, Any]) -> dict[str, Any]:
    """Copies with the fields that count. Ids are given anew from 1: the protocol's code takes id 0 for 'no match'.

    An entry without usable numbers is left out, as `load_coco` does, which reports it.
    """
    content = load_json(source, "annotation file")
    found = content if isinstance(content, dict) else {}
    lists: list[Any] = [found.get(key) for key in ("images", "categories", "annotations")]
    if not all(isinstance(entries, list) for entries in lists):
        raise DatasetError(
            "ground truth is not COCO detection JSON; expected an object with the lists 'images' (id), "
            "'categories' (id, name) and 'annotations' (image_id, category_id, bbox)"
        )
    images, categories, annotations = (
        [copy for entry in entries if (copy := _numbers_of(entry, read)) is not None]
        for entries, read in zip(lists, (_image, _category, _annotation))
    )
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    return {"images": images, "categories": categories, "annotations": annotations}


def _numbers_of(entry: Any, read: Callable[[Any], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return read(entry)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _image(entry: Any) -> dict[str, Any]:
    return {"id": _id(entry["id"])}


def _category(entry: Any) -> dict[str, Any]:
    return {"id": _id(entry["id"]), "name": str(entry.get("name", f"class {entry['id']}"))}


def _id(value: Any) -> int:
    """As the evaluators hold it: 64 bits."""
    if abs(number := int(value)) >= 2**63:
        raise ValueError("beyond 64 bits")
    return number


def _annotation(entry: Any) -> dict[str, Any]:
    _, _, width, height = bbox = [float(side) for side in entry["bbox"]]
    area = float(entry.get("area", width * height))
    if not all(map(math.isfinite, (*bbox, area))):
        raise ValueError("not finite")
    return {
        "image_id": _id(entry["image_id"]),
        "category_id": _id(entry["category_id"]),
        "bbox": bbox,
        "area": area,
        "iscrowd": int(is_crowd(entry)),
    }


def _results(source: str | Path | Sequence[dict[str, Any]], image_ids: set[int]) -> list[dict[str, Any]]:
    """Result entries with the fields that the evaluators add in `loadRes` (id, area, iscrowd)."""
    found = []
    for number, entry in enumerate(load_json(source, "result file"), start=1):
        try:
            bbox, score = [float(side) for side in entry["bbox"]], float(entry["score"])
            image_id, category_id = entry["image_id"], entry["category_id"]
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"result {number} is not a COCO detection: {type(error).__name__} {error}; "
                "expected image_id, category_id, bbox [x, y, width, height] and score"
            ) from error
        if len(bbox) != 4 or not all(map(math.isfinite, (*bbox, score))):
            raise DatasetError(f"result {number} has bbox {bbox} and score {score}; expected 4 and 1 finite numbers")
        if image_id not in image_ids:
            raise DatasetError(f"result {number} is for image id {image_id}, which the ground truth does not have")
        entry = {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}
        found.append({**entry, "id": number, "area": bbox[2] * bbox[3], "iscrowd": 0})
    return found


def _by_iou(run: Any) -> dict[str, float]:
    precision = run.eval["precision"][:, :, :, 0, -1]
    return {f"{threshold:.2f}": _mean(precision[row]) for row, threshold in enumerate(run.params.iouThrs)}


def _per_class(run: Any, truth: dict[str, Any]) -> tuple[ClassStats, ...]:
    # precision: (IoU thresholds, recall points, classes, areas, max detections); recall: the same without recall points
    precision, recall = run.eval["precision"][:, :, :, 0, -1], run.eval["recall"][:, :, 0, -1]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    objects: dict[int, int] = {}
    for entry in truth["annotations"]:
        objects[entry["category_id"]] = objects.get(entry["category_id"], 0) + (not entry["iscrowd"])

    return tuple(
        ClassStats(
            name=names.get(int(category), str(category)),
            category_id=int(category),
            objects=objects.get(int(category), 0),
            AP=_mean(precision[:, :, column]),
            AP50=_mean(precision[0, :, column]),
            AR100=_mean(recall[:, column]),
        )
        for column, category in enumerate(run.params.catIds)
    )


def _mean(values: np.ndarray) -> float:
    """The mean of the defined values; the evaluators write -1 where there is nothing to find."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0
