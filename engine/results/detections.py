"""What a detector found in one image."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.arguments import number, shown
from cornernet.engine.errors import ImageError
from cornernet.engine.installation import missing

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Detected(NamedTuple):
    """One object. box: (4,) float32 [px, image] x1 y1 x2 y2."""

    box: np.ndarray
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The objects of one image, or why there are none. Iterating gives one `Detected` after the other, best first;
    `found[0]` is the first of them, `found[:3]` and `found[found.scores > 0.5]` are Detections again.

    boxes        (n, 4) float32 [px, image] x1 y1 x2 y2, pixel edges
    scores       (n,)   float32 best first (the official protocol: class by class)
    labels       (n,)   int32   class index from 0, into `class_names` and `category_ids`
    class_names  every class of the model; `names` has one per box
    category_ids COCO category id of every class; without it label + 1 is used
    image_size   (height, width) [px], None if the image could not be read
    path         where the image came from, None for bytes and arrays
    frame        number of the picture in a video, from 0; None for pictures
    index        position of the image in the call
    error        None, or a sentence that says why this image gave no detections
    decimals     digits of boxes and scores in a COCO result file; None: all
    image        the picture, (H, W, 3) uint8 BGR, where `keep_images` asked for it; it is then drawn on without reading
                 the file once more
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
    frame: int | None = None
    image: np.ndarray | None = None

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

    def __iter__(self) -> Iterator[Detected]:
        names = self.names
        for row in range(len(self)):
            yield Detected(self.boxes[row], float(self.scores[row]), int(self.labels[row]), names[row])

    def __getitem__(self, rows: int | slice | np.ndarray) -> Any:
        if isinstance(rows, int | np.integer):
            (one,) = self.select(np.arange(len(self))[[rows]])
            return one
        return self.select(rows)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Detections: {self.summary}>"
        where = f" in {self.path}" if self.path is not None else ""
        frame = f", frame {self.frame}" if self.frame is not None else ""
        return f"<Detections: {self.summary}{where}{frame}>"

    @property
    def summary(self) -> str:
        """Such as '4 objects: 3 RBC, 1 WBC', or the error."""
        if self.error is not None:
            return self.error
        counts = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common())
        return f"{len(self)} object{'' if len(self) == 1 else 's'}{f': {counts}' if counts else ''}"

    def _repr_html_(self) -> str:
        from cornernet.engine.results.html_table import as_html

        return as_html(self)

    @property
    def xywh(self) -> np.ndarray:
        """(n, 4) float32 [px, image] x1 y1 width height."""
        return np.concatenate((self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]), axis=1)

    @property
    def normalised(self) -> np.ndarray:
        """(n, 4) float32 in [0, 1]: x1 x2 in widths, y1 y2 in heights of the image. ValueError without its size."""
        if self.image_size is None:
            raise ValueError("the size of the image is not known, so boxes cannot be normalised")
        height, width = self.image_size
        return self.boxes / np.array([width, height, width, height], np.float32)

    @property
    def names(self) -> tuple[str, ...]:
        """One class name per box."""
        if not self.class_names:
            return tuple(f"class {label}" for label in self.labels)
        return tuple(self.class_names[label] for label in self.labels)

    def above(self, threshold: float) -> Detections:
        """Those with a score of at least `threshold`."""
        return self.select(self.scores >= number("threshold", threshold, least=-1, most=1))

    def select(self, rows: np.ndarray | slice) -> Detections:
        """Some rows: a boolean mask (n,) indices or a slice."""
        try:
            chosen = np.arange(len(self))[rows]
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"rows={shown(rows)}; expected a mask of {len(self)} or indices below {len(self)}: {error}"
            ) from error
        if chosen.ndim != 1:
            raise ValueError(f"rows={shown(rows)}; expected a mask ({len(self)},) or indices (n,)")
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], labels=self.labels[chosen])

    def rows(self) -> list[dict[str, Any]]:
        """One record an object, for `pandas.DataFrame(found.rows())`, csv.DictWriter and the like."""
        about = {"path": self.path, "index": self.index, "frame": self.frame}
        return [
            {**about, **dict(zip(("x1", "y1", "x2", "y2"), box.tolist())), "score": score, "label": label, "name": name}
            for box, score, label, name in self
        ]

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

    @classmethod
    def from_json(cls, line: str) -> Detections:
        """What `to_json` wrote, as far as it goes: class names are those of the objects found. Raises ValueError."""
        content = json.loads(line)
        try:
            objects = content["detections"]
            names = {entry["label"]: entry["name"] for entry in objects}
            size = (content["height"], content["width"])
            return cls(
                boxes=np.array([entry["box"] for entry in objects], np.float32),
                scores=np.array([entry["score"] for entry in objects], np.float32),
                labels=np.array([entry["label"] for entry in objects], np.int32),
                class_names=tuple(names.get(label, f"class {label}") for label in range(max(names, default=-1) + 1)),
                image_size=None if None in size else size,
                **{key: content.get(key) for key in ("path", "index", "error", "frame")},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a line of detections: {type(error).__name__} {error}") from error

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
                **({} if self.frame is None else {"frame": self.frame}),
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

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR: `image`, else read from `path`. Raises ImageError if neither is there."""
        if self.image is not None:
            return self.image
        if self.path is None or self.frame is not None:
            raise ImageError("the picture is not kept: predict with keep_images=True, or hand it in")
        from cornernet.engine.reading.images import read_image

        return read_image(self.path)

    def draw(self, image: np.ndarray | None = None, *, scores: bool = True) -> np.ndarray:
        """A copy of `image`, else of `picture()`, with boxes and labels; `scores`: write them behind the names.

        image: (H, W, 3) uint8 BGR.
        """
        from cornernet.engine.results.draw import draw_detections

        image = self.picture() if image is None else image
        return draw_detections(image, self.boxes, self.labels, self.names, self.scores if scores else None)

    def save(self, path: str | PathLike[str], image: np.ndarray | None = None) -> None:
        """Write the drawn picture, .jpg or .png. Raises as `draw`; OutputError, OSError."""
        from cornernet.engine.results.picture_file import write_picture

        write_picture(path, self.draw(image))

    def crops(self, image: np.ndarray | None = None) -> list[np.ndarray]:
        """What lies in each box, (h, w, 3) uint8 BGR, h and w at least 1: a copy of part of `image` or `picture()`."""
        from cornernet.engine.results.draw import check_picture

        image = self.picture() if image is None else image
        check_picture(image)
        height, width = image.shape[:2]
        parts = []
        for x1, y1, x2, y2 in self.boxes.tolist():
            left, top = min(max(0, int(x1)), width - 1), min(max(0, int(y1)), height - 1)
            right, bottom = max(left + 1, round(x2)), max(top + 1, round(y2))
            parts.append(image[top:bottom, left:right].copy())
        return parts

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
