"""Annotation files of COCO's format: loaded, scored, and every report line written."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fake_backends import make_card, picture, write_onnx
from hostile_images import encode

from attack.families import Case
from attack.mutations import mutate, mutate_json

_MODEL: dict[Path, Path] = {}


def make(chance: Random, folder: Path, number: int) -> Case:
    if folder not in _MODEL:
        _MODEL[folder] = _write_data(folder)
    content = _content(chance)
    for _ in range(chance.choice((1, 1, 3))):
        content = mutate_json(chance, content)
    text = json.dumps(content, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = "values"
    if chance.random() < 0.3:
        kind, text = "bytes", mutate(chance, text)
    if chance.random() < 0.02:
        kind, text = "depth", b'{"images":' + b"[" * 100_000
    path = folder / "annotations" / "instances_val.json"
    path.write_bytes(text)
    return Case(kind, lambda: _drive(folder, _MODEL[folder]))


def _write_data(folder: Path) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    for number in range(1, 4):
        content = encode(picture(100, 120, (10 * number, 20, 60, 90)), ".png")
        (folder / "images" / f"{number}.png").write_bytes(content)
    return write_onnx(folder / "model.onnx", make_card(train_size=(128, 128)))


def _content(chance: Random) -> dict[str, object]:
    """A data set that is right; optional entries are there or not."""
    entry = {"iscrowd": 0, "area": 100.0, "segmentation": [[1, 1, 20, 1, 20, 20]]}
    crowd = {"iscrowd": 1, "segmentation": {"size": [100, 120], "counts": [100, 500, 11400]}}
    images = [{"id": number, "file_name": f"{number}.png", "width": 120, "height": 100} for number in range(1, 4)]
    annotations = [
        {"id": number, "image_id": number, "category_id": 7, "bbox": [10 * number, 20, 30, 70], **entry}
        for number in range(1, 4)
    ]
    annotations.append({"id": 9, "image_id": 1, "category_id": 9, "bbox": [1, 1, 5, 5], "area": 25, **crowd})
    for annotation in annotations:
        for key in ("iscrowd", "area", "segmentation"):
            if chance.random() < 0.3:
                annotation.pop(key, None)
    categories = [{"id": 7, "name": "bright", "supercategory": "x"}, {"id": 9, "name": "other"}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _drive(folder: Path, model: Path) -> str:
    from cornernet.engine.detector import Detector
    from cornernet.engine.scoring.coco import load_coco
    from cornernet.engine.scoring.evaluation import evaluate

    data = load_coco(folder, "val")
    assert all("\n" not in problem for problem in data.problems)
    assert all(sample.boxes.shape == (len(sample.labels), 4) for sample in data.samples)
    with Detector(model, threads=1) as detector:
        report = evaluate(detector, data, evaluator="pycocotools")
    assert all(-1 <= value <= 1 for value in report.stats.values.values())
    json.dumps(report.to_dict()).encode()
    json.dumps(report.results).encode()
    return "used"
