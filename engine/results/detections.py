"""What a detector found in one image."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cornernet.engine.arguments import number, shown
from cornernet.engine.installation import missing

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one image, or why there are none.

    boxes        (n, 4) float32 [px, image] x1 y1 x2 y2, pixel edges
    scores       (n,)   float32 best first (the official protocol: class by class)
    labels       (n,)   int32   class index from 0, into `class_names` and `category_ids`
    class_names  every class of the model; `names` has one per box
    category_ids COCO category id of every class; without it label + 1 is used
    image_size   (height, width) [px], None if the image could not be read
    path         where the image came from, None for bytes and arrays
    index        position of the image in the call
    error        None, or a sentence that says why this image gave no detections
    decimals     digits of boxes and scores in a COCO result file; None: all
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    image_size: tuple[int, int] | None = None
    path: str | None = None
    index: int = 0
    error: str | None = None
    decimals: int | None = None

    def __post_init__(self) -> None:
        for field, dtype in (("boxes", np.float32), ("scores", np.float32), ("labels", np.int32)):
            value = getattr(self, field)
            try:
                object.__setattr__(self, field, np.ascontiguousarray(value, dtype=dtype))
            except (TypeError, ValueError, OverflowError) as error:
                raise TypeError(f"{field}={shown(value)}; expected an array of {np.dtype(dtype)}") from error
        if self.boxes.size == 0:
            object.__setattr__(self, "boxes", self.boxes.reshape(0, 4))
        count = len(self.boxes)
        shapes = self.boxes.shape, self.scores.shape, self.labels.shape
        if shapes != ((count, 4), (count,), (count,)):
            raise ValueError(f"boxes, scores, labels have shapes {shapes}; expected (n, 4), (n,), (n,) with one n")
        if self.class_names and count and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(
                f"labels from {self.labels.min()} to {self.labels.max()}, but there are {len(self.class_names)} classes"
            )
        if self.category_ids and len(self.category_ids) != len(self.class_names):
            raise ValueError(f"{len(self.class_names)} class names but {len(self.category_ids)} category ids")

    @classmethod
    def failed(cls, error: Exception | str, **about: Any) -> Detections:
        """No detections, and why. `about`: any other field."""
        empty = np.zeros((0, 4), np.float32)
        return cls(empty, empty[:, 0], empty[:, 0], error=str(error) or type(error).__name__, **about)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> tuple[str, ...]:
        """One class name per box."""
        if not self.class_names:
            return tuple(f"class {label}" for label in self.labels)
        return tuple(self.class_names[label] for label in self.labels)

    def above(self, threshold: float) -> Detections:
        """Those with a score of at least `threshold`."""
        return self.select(self.scores >= number("threshold", threshold, least=-1, most=1))

    def select(self, rows: np.ndarray) -> Detections:
        """Some rows: a boolean mask (n,) or indices."""
        try:
            chosen = np.arange(len(self))[rows]
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"rows={shown(rows)}; expected a mask of {len(self)} or indices below {len(self)}: {error}"
            ) from error
        if chosen.ndim != 1:
            raise ValueError(f"rows={shown(rows)}; expected a mask ({len(self)},) or indices (n,)")
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], labels=self.labels[chosen])

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Entries of a COCO result file: image_id, category_id, bbox [x, y, width, height] [px], score."""
        categories = self.category_ids or range(1, 1 + max((int(label) + 1 for label in self.labels), default=0))
        corners = self.boxes.copy()
        corners[:, 2:] -= corners[:, :2]
        return [
            {
                "image_id": image_id,
                "category_id": categories[label],
                "bbox": [self._rounded(value) for value in bbox],
                "score": self._rounded(score),
            }
            for bbox, score, label in zip(corners.tolist(), self.scores.tolist(), self.labels.tolist())
        ]

    def _rounded(self, value: float) -> float:
        return value if self.decimals is None else float(f"{value:.{self.decimals}f}")

    def to_json(self) -> str:
        """One line of JSON: path, index, width, height, error, and the detections best first.

        It can be written as UTF-8 whatever the file is called: a byte that is none stands there as an escape, such as
        \\udce9, and is the path's own again after `json.loads`.
        """
        height, width = self.image_size or (None, None)
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), self.names)
        line = json.dumps(
            {
                "path": self.path,
                "index": self.index,
                "width": width,
                "height": height,
                "error": self.error,
                "detections": [
                    {"box": [round(value, 2) for value in box], "score": round(score, 5), "label": label, "name": name}
                    for box, score, label, name in rows
                ],
            },
            ensure_ascii=False,
        )
        return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)

    def draw(self, image: np.ndarray, *, scores: bool = True) -> np.ndarray:
        """A copy of `image` (H, W, 3) uint8 BGR with boxes and labels; `scores`: write them behind the names."""
        from cornernet.engine.results.draw import draw_detections

        return draw_detections(image, self.boxes, self.labels, self.names, self.scores if scores else None)

    def to_supervision(self) -> Any:
        """As `supervision.Detections`. Raises BackendError if that package is missing."""
        try:
            import supervision
        except ImportError as error:
            raise missing("supervision", "to_supervision") from error
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )
