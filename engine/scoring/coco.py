"""Data sets in COCO's JSON format. A wrong entry becomes a report line; only an unusable file is an error."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.arguments import as_path, bytes_of, shown, shown_path
from cornernet.engine.errors import DatasetError
from cornernet.engine.printable import printable

_REPORTED_CLIP = 1.0
"""A box that leaves its image by more than this [px] is reported when it is clipped; less is rounding."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its objects.

    width, height: of the image [px]
    boxes   (n, 4) float32 [px, image] x1 y1 x2 y2 at pixel edges (x2 = x1 + width), inside the image, n >= 0
    labels  (n,)   int64   class index: position in CocoDataset.class_names
    crowd   (n,)   bool    a region of many objects: not trained on, ignored by the evaluation
    """

    image_id: int
    path: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """A split: samples in the file's order, classes in order of their category id.

    problems: a report line for each entry that was mended or left out.
    mended: place in the file's list of annotations -> box x y width height [px] as clipped to its image, or None: left
        out. What is scored follows it, so that the score agrees with `problems`.
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    annotation_file: Path
    problems: tuple[str, ...] = ()
    mended: Mapping[int, tuple[float, float, float, float] | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)


_LARGEST = 2**24
"""Coordinates [px] that float32 still holds exactly; anything beyond is an error of the file."""


class _Image(NamedTuple):
    image_id: int
    path: Path
    width: int
    height: int


_Mended = tuple[float, float, float, float] | None
_Object = tuple[list[float], int, bool]
"""Box x1 y1 x2 y2 [px], class index, crowd."""


def load_coco(
    root: Path | str, split: str | None = None, *, images: Path | None = None, annotations: Path | None = None
) -> CocoDataset:
    """Read one split of a data set.

    Args:
        root:        folder with annotations/ and images/ (or images/<split>/, or COCO's own <split>/).
        split:       finds annotations/instances_<split>.json, else annotations/<split>.json. None: the only file there.
        images:      folder of the images, instead of looking for it under `root`.
        annotations: the JSON file, instead of looking for it under `root`.

    Raises DatasetError if there is no annotation file, if it is not COCO JSON, or if none of its images can be used.
    """
    root = as_path("root", root)
    if not isinstance(split, str | None):
        raise TypeError(f"split={shown(split)}; expected the name of a split, or None")
    file = as_path("annotations", annotations) if annotations is not None else _find_annotations(root, split)
    content = _read_json(file)
    problems: list[str] = []
    names = _read_categories(content["categories"], file, problems)
    entries = _read_images(content["images"], problems)
    folder = _find_folder(entries, [as_path("images", images)] if images is not None else _folders(root, split), file)
    found = _check_files(entries, folder, problems)
    if not found:
        raise DatasetError(
            f"{shown_path(file)}: every image in {shown_path(folder)} is empty, zero bytes. Copy the images again."
        )
    label_of = {category: label for label, category in enumerate(names)}
    mended: dict[int, _Mended] = {}
    objects = _read_annotations(content["annotations"], found, label_of, problems, mended)
    samples = tuple(_make_sample(image, objects[image.image_id]) for image in found.values())
    return CocoDataset(samples, tuple(names.values()), tuple(names), file, tuple(problems), mended)


def _find_annotations(root: Path, split: str | None) -> Path:
    folder = root / "annotations"
    try:
        there = sorted(folder.glob("*.json"))
    except OSError as error:
        raise DatasetError(f"{shown_path(folder)}: cannot be read: {error.strerror}") from error
    if split is None:
        if len(there) == 1:
            return there[0]
        wanted = "exactly one annotations/*.json, or the name of a split"
    else:
        names = (f"instances_{split}.json", f"{split}.json")
        for name in names:
            if folder / name in there:
                return folder / name
        wanted = " or ".join(f"annotations/{shown_path(name)}" for name in names)
    listed = ", ".join(shown_path(file.name) for file in there) or "no JSON file"
    raise DatasetError(
        f"{shown_path(root)}: expected {wanted}; there is {listed}. Check the folder and the split's name."
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error  # without the name, which is there already
        raise DatasetError(
            f"{shown_path(file)}: cannot be read as JSON: {why}. Expected a COCO annotation file."
        ) from error
    keys = ("images", "annotations", "categories")
    wrong = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if wrong:
        raise DatasetError(
            f"{shown_path(file)}: not a COCO annotation file: no list under {', '.join(wrong)}; expected a JSON object "
            f"with the lists {', '.join(keys)}. Other formats must be converted first."
        )
    return content


def _read_categories(entries: list[Any], file: Path, problems: list[str]) -> dict[int, str]:
    """Category id -> name, ascending ids."""
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        category = whole_number(entry, "id")
        if category is None:
            problems.append(f"category {place}: no whole number under 'id'; left out")
        elif category in names:
            problems.append(f"category {category}: the id occurs twice; kept '{names[category]}'")
        else:
            name = entry.get("name")
            names[category] = printable(str(name)) if isinstance(name, str | int | float) else f"class {category}"
    if not names:
        raise DatasetError(
            f"{shown_path(file)}: no usable category; expected entries like {{'id': 1, 'name': 'cell'}}."
        )
    return dict(sorted(names.items()))


def _read_images(entries: list[Any], problems: list[str]) -> dict[int, tuple[str, int, int]]:
    """Image id -> file name, width, height."""
    images: dict[int, tuple[str, int, int]] = {}
    for place, entry in enumerate(entries):
        image_id, width, height = (whole_number(entry, key) for key in ("id", "width", "height"))
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if image_id is None or not isinstance(name, str) or not name:
            problems.append(f"image {place}: expected a whole number under 'id' and a file_name; left out")
        elif image_id in images:
            first = shown_path(images[image_id][0])
            problems.append(f"image {image_id} ({shown_path(name)}): the id belongs to {first} already; left out")
        elif not width or not height or min(width, height) < 1 or max(width, height) >= _LARGEST:
            problems.append(f"image {image_id} ({shown_path(name)}): expected width and height in pixels; left out")
        else:
            images[image_id] = (name, width, height)
    return images


def _folders(root: Path, split: str | None) -> list[Path]:
    names = ("images", f"images/{split}", split, ".") if split else ("images", ".")
    return [root / name for name in names]


def _find_folder(entries: dict[int, tuple[str, int, int]], folders: list[Path], file: Path) -> Path:
    """The first folder that holds any of the files."""
    for folder in folders:
        if any(bytes_of(folder / name) is not None for name, _, _ in entries.values()):
            return folder
    first = next((f" (the first is {shown_path(name)})" for name, _, _ in entries.values()), "")
    raise DatasetError(
        f"{shown_path(file)}: none of its {len(entries)} usable images exists{first}. "
        f"Searched {', '.join(map(shown_path, folders))}. Name the folder of the images."
    )


def _check_files(entries: dict[int, tuple[str, int, int]], folder: Path, problems: list[str]) -> dict[int, _Image]:
    """Image id -> its existing file. Content is not looked at: that would mean decoding the whole data set."""
    found = {}
    for image_id, (name, width, height) in entries.items():
        path = folder / name
        size = bytes_of(path)
        if size is None:
            problems.append(f"image {image_id}: {shown_path(path)} does not exist; left out, not scored either")
        elif size == 0:
            problems.append(f"image {image_id}: {shown_path(path)} is empty, zero bytes; left out, not scored either")
        else:
            found[image_id] = _Image(image_id, path, width, height)
    return found


def _read_annotations(
    entries: Iterable[Any],
    images: dict[int, _Image],
    label_of: dict[int, int],
    problems: list[str],
    mended: dict[int, _Mended],
) -> dict[int, list[_Object]]:
    """Image id -> its usable objects. Fills `problems` and `mended`, see `CocoDataset`."""
    objects: dict[int, list[_Object]] = defaultdict(list)
    seen: set[int] = set()
    for place, entry in enumerate(entries):
        annotation, image_id, category = (whole_number(entry, key) for key in ("id", "image_id", "category_id"))
        where = f"annotation {place if annotation is None else annotation}"
        mended[place] = None  # until it proves usable
        if image_id is None or category is None:
            problems.append(f"{where}: expected whole numbers under image_id and category_id; left out")
        elif image_id not in images:
            problems.append(f"{where}: there is no usable image {image_id}; left out")
        elif category not in label_of:
            problems.append(f"{where} of image {image_id}: there is no category {category}; left out")
        else:
            box, complaint = _clipped_box(entry.get("bbox"), images[image_id])
            if complaint:
                problems.append(f"{where} of image {image_id}: {complaint}")
            if box is not None:
                found = (box, label_of[category], is_crowd(entry))
                repeated = annotation in seen and found in objects[image_id]
                if annotation in seen:
                    fate = "the same object, left out" if repeated else "another object, kept"
                    problems.append(f"{where} of image {image_id}: the id occurs twice; {fate}")
                if not repeated:
                    objects[image_id].append(found)
                    del mended[place]
                    if complaint:
                        mended[place] = (box[0], box[1], box[2] - box[0], box[3] - box[1])
        if annotation is not None:
            seen.add(annotation)
    return objects


def _clipped_box(bbox: Any, image: _Image) -> tuple[list[float] | None, str]:
    """COCO's [x, y, width, height] -> x1 y1 x2 y2 inside the image, or None; and what was wrong, if anything."""
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(side) in (int, float) for side in bbox)
    if not numbers or not all(abs(side) < _LARGEST for side in bbox):  # NaN is not less either
        return None, f"bbox {short(bbox)}: expected four finite numbers [x, y, width, height]; left out"
    x, y, width, height = (float(side) for side in bbox)
    if width <= 0 or height <= 0:
        return None, f"bbox {short(bbox)} has no area; left out"
    box = [max(x, 0.0), max(y, 0.0), min(x + width, float(image.width)), min(y + height, float(image.height))]
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, f"bbox {short(bbox)} lies outside the image of {image.width}x{image.height} pixels; left out"
    beyond = max(abs(inside - given) for inside, given in zip(box, (x, y, x + width, y + height)))
    clipped = f"bbox {short(bbox)} reaches outside the image of {image.width}x{image.height} pixels; clipped"
    return box, clipped if beyond > _REPORTED_CLIP else ""


def _make_sample(image: _Image, objects: list[_Object]) -> Sample:
    boxes = np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in objects], np.int64)
    return Sample(*image, boxes, labels, np.array([crowd for _, _, crowd in objects], bool))


def is_crowd(entry: Mapping[str, Any]) -> bool:
    """Is this annotation a region of many objects? Only 1 (or true) says so."""
    return entry.get("iscrowd") in (1, True)


def whole_number(entry: Any, key: str) -> int | None:
    """The whole number of 64 bits under `key`, also if written as 3.0 or "3"; None if there is none."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    usable = isinstance(value, str) or number == value
    return number if usable and abs(number) < 2**63 else None
