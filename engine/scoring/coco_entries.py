"""Entries of COCO's lists, each checked on its own: a wrong one becomes a report line, and is mended or left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

from cornernet.engine.arguments import shown_path
from cornernet.engine.printable import printable

_REPORTED_CLIP = 1.0
"""A box that leaves its image by more than this [px] is reported when it is clipped; less is rounding."""

_LARGEST = 2**24
"""Coordinates [px] that float32 still holds exactly; anything beyond is an error of the file."""


class ImageFile(NamedTuple):
    image_id: int
    path: Path
    width: int
    height: int


Mended = tuple[float, float, float, float] | None
"""A box x y width height [px] as clipped to its image; None: left out."""

FoundObject = tuple[list[float], int, bool]
"""Box x1 y1 x2 y2 [px], class index, crowd."""


def read_categories(entries: list[Any], problems: list[str]) -> dict[int, str]:
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
    return dict(sorted(names.items()))


def read_images(entries: list[Any], problems: list[str]) -> dict[int, tuple[str, int, int]]:
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


def read_annotations(
    entries: Iterable[Any],
    images: dict[int, ImageFile],
    label_of: dict[int, int],
    problems: list[str],
    mended: dict[int, Mended],
    *,
    field: str = "bbox",
) -> dict[int, list[FoundObject]]:
    """Image id -> its usable objects. Fills `problems` and `mended`, see `CocoDataset`. field: what a box is called."""
    objects: dict[int, list[FoundObject]] = defaultdict(list)
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
            where = f"{where} of image {image_id} ({shown_path(images[image_id].path.name)})"
            if complaint:
                problems.append(f"{where}: {field} {complaint}")
            if box is not None:
                found = (box, label_of[category], is_crowd(entry))
                repeated = annotation in seen and found in objects[image_id]
                if annotation in seen:
                    fate = "the same object, left out" if repeated else "another object, kept"
                    problems.append(f"{where}: the id occurs twice; {fate}")
                if not repeated:
                    objects[image_id].append(found)
                    del mended[place]
                    if complaint:
                        mended[place] = (box[0], box[1], box[2] - box[0], box[3] - box[1])
        if annotation is not None:
            seen.add(annotation)
    return objects


def _clipped_box(bbox: Any, image: ImageFile) -> tuple[list[float] | None, str]:
    """COCO's [x, y, width, height] -> x1 y1 x2 y2 inside the image, or None; and what was wrong, if anything."""
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(side) in (int, float) for side in bbox)
    if not numbers or not all(abs(side) < _LARGEST for side in bbox):  # NaN is not less either
        return None, f"{short(bbox)}: expected four finite numbers [x, y, width, height]; left out"
    x, y, width, height = (float(side) for side in bbox)
    if width <= 0 or height <= 0:
        return None, f"{short(bbox)} has no area; left out"
    box = [max(x, 0.0), max(y, 0.0), min(x + width, float(image.width)), min(y + height, float(image.height))]
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, f"{short(bbox)} lies outside the image of {image.width}x{image.height} pixels; left out"
    beyond = max(abs(inside - given) for inside, given in zip(box, (x, y, x + width, y + height)))
    if beyond <= _REPORTED_CLIP:
        return box, ""
    return box, f"{short(bbox)} reaches outside the image of {image.width}x{image.height} pixels; clipped"


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
