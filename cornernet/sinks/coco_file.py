"""A COCO data set of what was found: to look through, to correct by hand, to train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cornernet.engine.printable import printable
from cornernet.engine.results.detections import Detections
from cornernet.engine.whole_file import write_text_whole


class CocoFile:
    """Images are numbered from 1 in the order of the sources; frames of videos have names such as clip.mp4#12."""

    def __init__(self, path: Path, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
        self._path, self._category_ids = path, category_ids
        self._categories = [{"id": id_, "name": name} for id_, name in zip(category_ids, class_names)]
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def write(self, found: Detections) -> None:
        if found.image_size is None:
            return
        height, width = found.image_size
        image_id = len(self._images) + 1
        frame = "" if found.frame is None else f"#{found.frame}"
        name = f"{printable(found.path or '')}{frame}"
        self._images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for bbox, score, label in zip(found.xywh.tolist(), found.scores.tolist(), found.labels.tolist()):
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": self._category_ids[label],
                    "bbox": [round(value, 2) for value in bbox],
                    "area": round(bbox[2] * bbox[3], 2),
                    "iscrowd": 0,
                    "score": round(score, 5),
                }
            )

    def close(self) -> None:
        content = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        write_text_whole(self._path, json.dumps(content) + "\n")
