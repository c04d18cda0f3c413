"""Samples -> COCO's lists: the ground truth of a data set that lies in no COCO file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cornernet.engine.scoring.coco import CocoDataset

_DECIMALS = 3
"""Of a pixel. Beyond them are the errors of float32 and of the six decimals in YOLO's files."""


def coco_content(dataset: CocoDataset) -> dict[str, Any]:
    """Lists of images, annotations (bbox x y width height [px]; area; iscrowd) and categories."""
    images = [
        {"id": sample.image_id, "file_name": str(sample.path), "width": sample.width, "height": sample.height}
        for sample in dataset.samples
    ]
    annotations: list[dict[str, Any]] = []
    for sample in dataset.samples:
        for box, label, crowd in zip(sample.boxes.tolist(), sample.labels.tolist(), sample.crowd.tolist()):
            x1, y1, x2, y2 = box
            bbox = [round(value, _DECIMALS) for value in (x1, y1, x2 - x1, y2 - y1)]
            entry = {
                "id": len(annotations) + 1,
                "image_id": sample.image_id,
                "category_id": dataset.category_ids[label],
            }
            annotations.append({**entry, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": int(crowd)})
    categories = [{"id": id_, "name": name} for id_, name in zip(dataset.category_ids, dataset.class_names)]
    return {"images": images, "annotations": annotations, "categories": categories}
