"""YOLO: data.yaml, and beside images/ a folder labels/ with a text file a picture.

A line of it is an object: class, centre x y, width, height, in fractions of the picture. A line with more numbers is a
polygon, of which the box is taken. A picture without a file, or with an empty one, has no objects.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cornernet.engine.arguments import shown_path
from cornernet.engine.datasets.data_yaml import DataYaml, find_yaml, read_yaml
from cornernet.engine.datasets.layout import Layout, text_of
from cornernet.engine.errors import DatasetError, ImageError
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import SUFFIXES
from cornernet.engine.reading.picture_size import picture_size
from cornernet.engine.scoring.coco import CocoDataset, dataset_of

_LIST_BYTES, _LABEL_BYTES = 2**28, 2**24
_MOST_ENTRIES = 5_000_000
"""Files looked at in the folder of a split: a path that leads to a whole disk ends here."""

_SLACK = 0.01
"""By so much fractions may leave 0 to 1: rounding, and boxes that reach a little over the edge."""

Box = tuple[int, float, float, float, float]
"""Class, x1 y1 x2 y2 in fractions of the picture."""


def _splits(root: Path) -> list[str]:
    file = find_yaml(root)
    if file is not None:
        return list(read_yaml(file).splits)
    if (root / "labels").is_dir() and (root / "images").is_dir():
        raise DatasetError(
            f"{shown_path(root)}: images/ and labels/ as YOLO has them, but no data.yaml, which says what the classes "
            "are called; write one, with lines such as `names: [cat, dog]`, `train: images/train`, `val: images/val`"
        )
    return []


def _read(root: Path, split: str) -> CocoDataset:
    file = find_yaml(root)
    assert file is not None, root
    described = read_yaml(file)
    problems: list[str] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    polygons = 0
    for path in sorted(_pictures(described, split)):
        try:
            height, width = picture_size(path)
        except ImageError as error:
            problems.append(f"{error}; left out, not scored either")
            continue
        images.append({"id": len(images) + 1, "file_name": str(path), "width": width, "height": height})
        boxes, outlined = _read_labels(label_file(path), len(described.names), problems)
        polygons += outlined
        for label, x1, y1, x2, y2 in boxes:
            bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
            entry = {"id": len(annotations) + 1, "image_id": len(images), "category_id": label + 1, "bbox": bbox}
            annotations.append(entry)
    if not images:
        listed = ", ".join(described.splits[split])
        raise DatasetError(f"{shown_path(file)}: there is no picture that can be used in {split}: {printable(listed)}")
    if polygons:
        problems.append(f"{polygons} objects are outlined by polygons; their boxes were taken")
    categories = [{"id": number, "name": name} for number, name in enumerate(described.names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return dataset_of(content, file, [described.base], problems=problems, from_coco=False)


YOLO = Layout("YOLO", "data.yaml, images/ and labels/", _splits, _read)


def _pictures(described: DataYaml, split: str) -> set[Path]:
    """Absolute paths of the pictures of a split. Raises DatasetError if one of its folders or lists is not there."""
    found: set[Path] = set()
    for written in described.splits[split]:
        place = _locate(described, written)
        if place is None:
            raise DatasetError(
                f"{shown_path(described.file)}: {split} is {shown_path(written)}, which is not there; expected a "
                f"folder of pictures, or a .txt file of their paths, as seen from {shown_path(described.base)}"
            )
        if place.is_dir():
            found.update(_walk(place, described.file))
        else:
            found.update(_listed(place, described.base))
    return found


def _locate(described: DataYaml, written: str) -> Path | None:
    """Where a path of data.yaml leads. Roboflow writes ../train/images for the folder beside the file."""
    below = written
    while below.startswith("../"):
        below = below[3:]
    for base, path in ((described.base, written), (described.file.parent, written), (described.file.parent, below)):
        try:
            place = (base / path).absolute()
            home = described.file.parent.resolve()
            above = place.resolve() in home.parents  # all of a disk, perhaps
            if not above and (place.is_dir() or place.is_file()):
                return place
        except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte
            continue
    return None


def _walk(folder: Path, origin: Path) -> Iterator[Path]:
    """Pictures of a folder and those in it; links to folders are not followed."""
    seen = 0
    for home, _, names in os.walk(folder):
        seen += len(names) + 1
        if seen > _MOST_ENTRIES:
            raise DatasetError(
                f"{shown_path(origin)}: {shown_path(folder)} holds more than {_MOST_ENTRIES} files; "
                "expected a folder of pictures"
            )
        yield from (path for path in map(Path(home).joinpath, names) if path.suffix.lower() in SUFFIXES)


def _listed(file: Path, base: Path) -> Iterator[Path]:
    """Pictures of a list: ./ is the list's own folder, other paths are seen from `base`."""
    for line in text_of(file, _LIST_BYTES).splitlines():
        if written := line.strip():
            home = file.parent if written.startswith("./") else base
            yield (home / written).absolute()


def label_file(picture: Path) -> Path:
    """As YOLO's trainers find it: the last folder called images becomes labels, the suffix .txt."""
    parts = picture.parts
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            return Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt")
    return picture.with_suffix(".txt")


def _read_labels(file: Path, classes: int, problems: list[str]) -> tuple[list[Box], int]:
    """The objects of a picture, and how many of them were polygons."""
    try:
        text = text_of(file, _LABEL_BYTES) if os.path.lexists(file) else ""
    except DatasetError as error:
        problems.append(f"{error}; its picture counts as one without objects")
        return [], 0
    boxes: list[Box] = []
    polygons = 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        box = _box(words, classes)
        if isinstance(box, str):
            problems.append(f"{shown_path(file)} line {number}: {box}; left out")
        else:
            boxes.append(box)
            polygons += len(words) > 5
    return boxes, polygons


def _box(words: list[str], classes: int) -> Box | str:
    """A line of a label file, or what is wrong with it."""
    try:
        label, numbers = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        return f"{printable(' '.join(words)[:60])!r} is not class x y width height"
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return f"{len(words)} numbers; expected class x y width height, or class and the points of a polygon"
    if label not in range(classes):
        return f"there is no class {words[0][:20]}; names has {classes}, counted from 0"
    if len(numbers) == 4:
        x, y, width, height = numbers
        edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        across, down = numbers[::2], numbers[1::2]
        edges = (min(across), min(down), max(across), max(down))
    if not all(math.isfinite(number) and -_SLACK <= number <= 1 + _SLACK for number in numbers):
        return f"[{', '.join(words[1:5])}] is not in fractions of the picture, from 0 to 1"
    return int(label), *edges
