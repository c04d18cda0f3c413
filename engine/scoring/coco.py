"""Data sets in COCO's JSON format. A wrong entry becomes a report line; only an unusable file is an error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.arguments import as_path, bytes_of, shown, shown_path
from cornernet.engine.errors import DatasetError
from cornernet.engine.scoring.coco_entries import (
    FoundObject,
    ImageFile,
    Mended,
    read_annotations,
    read_categories,
    read_images,
)


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

    def wrong_size(self, height: int, width: int) -> str | None:
        """Why a picture of this size [px] is not the one that was annotated; None: it may be."""
        if (height, width) == (self.height, self.width):
            return None
        turned = (height, width) == (self.width, self.height)
        hint = ". Turned by its EXIF orientation after it was annotated?" if turned else ""
        return (
            f"{self.path}: the image is {width}x{height} pixels, its annotation says {self.width}x{self.height}{hint}"
        )


@dataclass(frozen=True, eq=False)
class CocoDataset:
    """A split: samples in the file's order, classes in order of their category id.

    problems: a report line for each entry that was mended or left out.
    mended: place in the file's list of annotations -> box x y width height [px] as clipped to its image, or None: left
        out. What is scored follows it, so that the score agrees with `problems`.
    from_coco: the file is COCO's JSON, and holds more than the samples do (masks, areas); of other layouts it is what
        names the pictures of the split.
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    annotation_file: Path
    problems: tuple[str, ...] = ()
    mended: Mapping[int, tuple[float, float, float, float] | None] = field(default_factory=dict)
    from_coco: bool = True

    def __len__(self) -> int:
        return len(self.samples)


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
    folders = [as_path("images", images)] if images is not None else _folders(root, split)
    return dataset_of(_read_json(file), file, folders)


def dataset_of(
    content: Mapping[str, list[Any]],
    file: Path,
    folders: Sequence[Path],
    *,
    problems: Sequence[str] = (),
    from_coco: bool = True,
) -> CocoDataset:
    """COCO's lists of images, annotations and categories, whatever they were read from, checked and mended.

    file: names the data set in messages. folders: the first one that holds any of the images is that of all.
    problems: what reading found already. Raises DatasetError if there is no usable category or image.
    """
    problems = list(problems)
    names = read_categories(content["categories"], problems)
    if not names:
        wanted = "expected entries like {'id': 1, 'name': 'cell'}" if from_coco else "no object has a name"
        raise DatasetError(f"{shown_path(file)}: no usable category; {wanted}{_such_as(problems)}.")
    entries = read_images(content["images"], problems)
    if not entries:
        raise DatasetError(f"{shown_path(file)}: no usable image is listed{_such_as(problems)}.")
    folder = _find_folder(entries, folders)
    if folder is None and os.sep == "/":  # written on Windows
        slashed = {id_: (name.replace("\\", "/"), width, height) for id_, (name, width, height) in entries.items()}
        if (folder := _find_folder(slashed, folders)) is not None:
            entries = slashed
    if folder is None:
        first = shown_path(next(iter(entries.values()))[0])
        raise DatasetError(
            f"{shown_path(file)}: none of its {len(entries)} usable images exists (the first is {first}). "
            f"Searched {', '.join(map(shown_path, folders))}. Name the folder of the images."
        )
    found = _check_files(entries, folder, problems)
    if not found:
        raise DatasetError(
            f"{shown_path(file)}: every image in {shown_path(folder)} is empty, zero bytes. Copy the images again."
        )
    label_of = {category: label for label, category in enumerate(names)}
    mended: dict[int, Mended] = {}
    field = "bbox" if from_coco else "box"
    objects = read_annotations(content["annotations"], found, label_of, problems, mended, field=field)
    samples = tuple(_make_sample(image, objects[image.image_id]) for image in found.values())
    return CocoDataset(samples, tuple(names.values()), tuple(names), file, tuple(problems), mended, from_coco)


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
            f"with the lists {', '.join(keys)}."
        )
    return content


def _folders(root: Path, split: str | None) -> list[Path]:
    names = ("images", f"images/{split}", split, ".") if split else ("images", ".")
    return [root / name for name in names]


def _find_folder(entries: dict[int, tuple[str, int, int]], folders: Sequence[Path]) -> Path | None:
    """The first folder that holds any of the files."""
    for folder in folders:
        if any(bytes_of(folder / name) is not None for name, _, _ in entries.values()):
            return folder
    return None


def _such_as(problems: Sequence[str]) -> str:
    """The first lines about entries that were left out: where nothing is left, they say why."""
    return f". Such as {'; '.join(problems[:3])}" if problems else ""


def _check_files(entries: dict[int, tuple[str, int, int]], folder: Path, problems: list[str]) -> dict[int, ImageFile]:
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
            found[image_id] = ImageFile(image_id, path, width, height)
    return found


def _make_sample(image: ImageFile, objects: list[FoundObject]) -> Sample:
    boxes = np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in objects], np.int64)
    return Sample(*image, boxes, labels, np.array([crowd for _, _, crowd in objects], bool))
