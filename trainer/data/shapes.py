"""A data set of drawn shapes, so that nobody needs a download: rectangles, ellipses and triangles on textured ground.

Shapes are rasterised on a grid GRID times finer than the pixels and averaged down, so edges are antialiased and boxes
are known to 1 / GRID pixel. A box holds the visible part of its object, as in COCO: x1, y1 are where it begins, x2, y2
where it ends, both measured at pixel edges (an object that fills the whole image has the box 0, 0, width, height).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cornernet.engine.errors import DatasetError
from cornernet.engine.results.picture_file import encode_picture

CLASSES = ("rectangle", "ellipse", "triangle")
GRID = 4
"""Grid points per pixel side when drawing."""

MIN_VISIBLE = 0.6
"""Least share of an object that later objects may leave visible: what is almost hidden cannot be found by anybody."""

SIZES = (0.14, 0.6)
"""Smallest and largest side of an object, in shorter image sides; small ones are as likely as large ones."""

MAX_OBJECTS = 6

_MARK = "shapes.json"
_OURS = re.compile(r"(train|val|test)_\d{6}\.jpg|instances_(train|val|test)\.json")


class Scene(NamedTuple):
    """image (h, w, 3) uint8 BGR; boxes (n, 4) float64 [px] x1 y1 x2 y2, multiples of 1 / GRID; labels (n,) int64."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def generate_shapes(
    directory: Path,
    *,
    train: int = 600,
    val: int = 100,
    test: int = 0,
    seed: int = 0,
    size: tuple[int, int] = (160, 160),
    vary: float = 0.25,
    objects: tuple[float, float] | None = None,
) -> Path:
    """Write images/ and annotations/instances_{train,val,test}.json; the same arguments give the same files.

    A directory that holds these very images already is left as it is; the images of an interrupted or different call
    are replaced.

    Args:
        train, val, test: number of images per split; 0 leaves the split out.
        size: (height, width) [px] of the largest image; sides are drawn between (1 - vary) * size and size.
        objects: smallest and largest side of an object [px]; None: the shares SIZES of each image.

    Returns `directory`. Raises DatasetError if it holds files of somebody else, or if an argument is out of range.
    """
    counts = {"train": train, "val": val, "test": test}
    if min(counts.values()) < 0 or not any(counts.values()) or min(size) < 32 or not 0 <= vary < 0.75:
        raise DatasetError(
            f"shapes: got {counts}, size {size}, vary {vary}; expected at least one image, sides of 32 pixels or more, "
            "and vary in [0, 0.75)."
        )
    most = int((1 - vary) * min(size) / 2**0.5)  # turned, it still fits the smallest image
    if objects is not None and not 2 <= objects[0] <= objects[1] <= most:
        raise DatasetError(
            f"shapes: got objects of {objects[0]:g} to {objects[1]:g} px; expected 2 to {most} px for images of "
            f"{size[0]}x{size[1]}, vary {vary:g}."
        )
    directory = Path(directory)
    recipe = {"made_by": "cornernet shapes", **counts, "seed": seed, "size": list(size), "vary": vary}
    if objects is not None:
        recipe["objects"] = list(objects)
    if _prepare(directory, recipe):
        return directory
    for number, (split, count) in enumerate(counts.items()):
        if count:
            _write_split(directory, split, [(seed, number, place) for place in range(count)], size, vary, objects)
    _write_json(directory / _MARK, recipe | {"complete": True})
    return directory


def draw_scene(rng: np.random.Generator, size: tuple[int, int], objects: tuple[float, float] | None = None) -> Scene:
    """One picture of `size` (height, width) [px] with 1 to MAX_OBJECTS objects, drawn back to front.

    objects: smallest and largest side of an object [px]; None: the shares SIZES of the picture.
    """
    least, most = objects if objects is not None else (share * min(size) for share in SIZES)
    image = _texture(rng, rng.uniform(40, 215, 3), size, strength=35)
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    masks: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(5 * wanted):  # a crowded picture ends up with fewer objects
        label = int(rng.integers(len(CLASSES)))
        mask = _place_object(rng, label, size, least, most)
        if _all_recognisable([*masks, mask]):
            masks.append(mask)
            labels.append(label)
        if len(masks) == wanted:
            break
    colours = [image.mean(axis=(0, 1))]
    for mask in masks:
        colours.append(_contrasting(rng, colours))
        image = _paint(image, mask, _texture(rng, colours[-1], size, strength=18))
    image = image + rng.uniform(0, 5) * rng.standard_normal(image.shape, dtype=np.float32)
    boxes = np.array([_box(part) for part in _visible_parts(masks)])
    return Scene(image.clip(0, 255).astype(np.uint8), boxes, np.array(labels, np.int64))


def _place_object(rng: np.random.Generator, label: int, size: tuple[int, int], low: float, high: float) -> np.ndarray:
    """Mask (GRID * height, GRID * width) uint8, 1 inside an object that lies wholly inside the image."""
    height, width = size
    longer = np.exp(rng.uniform(np.log(low), np.log(high)))
    shorter = max(low, longer * rng.uniform(0.45, 1.0))
    half = np.array([longer, shorter])[rng.permutation(2)] / 2
    outline = _outline(rng, label, half)
    outline -= (outline.min(axis=0) + outline.max(axis=0)) / 2
    reach = outline.max(axis=0)
    room = np.maximum(np.array([width, height]) / 2 - reach - 1, 0)
    centre = np.array([width, height]) / 2 + rng.uniform(-room, room)
    # Grid point i covers [i, i + 1] / GRID pixels; fillPoly takes its centre as i, in 1/16 of a grid step.
    points = np.round(((outline + centre) * GRID - 0.5) * 16).astype(np.int32)
    mask = np.zeros((GRID * height, GRID * width), np.uint8)
    cv2.fillPoly(mask, [points], 1, lineType=cv2.LINE_8, shift=4)
    return mask


def _outline(rng: np.random.Generator, label: int, half: np.ndarray) -> np.ndarray:
    """Points (p, 2) x y [px] around the origin of an object of half sides `half`."""
    name = CLASSES[label]
    if name == "ellipse":
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        turn = rng.uniform(0, np.pi)
    elif name == "rectangle":
        points = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        turn = rng.choice([0.0, rng.uniform(-0.5, 0.5)])
    else:
        points = np.array([[rng.uniform(-0.7, 0.7), -1.0], [1.0, 1.0], [-1.0, 1.0]])
        turn = rng.integers(4) * np.pi / 2 + rng.uniform(-0.4, 0.4)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (points * half) @ rotation


def _visible_parts(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the objects in front leave of each mask."""
    in_front = np.zeros_like(masks[0])
    parts = []
    for mask in reversed(masks):
        parts.append(mask & ~in_front)
        in_front |= mask
    return parts[::-1]


def _all_recognisable(masks: Sequence[np.ndarray]) -> bool:
    """True if the last object hides no earlier one too far, and leaves each in one piece."""
    for mask, part in zip(masks, _visible_parts(masks)):
        hidden = int(np.count_nonzero(mask)) - int(np.count_nonzero(part))
        if hidden > (1 - MIN_VISIBLE) * np.count_nonzero(mask):
            return False
        if hidden and cv2.connectedComponents(part[::GRID, ::GRID])[0] > 2:  # the ground counts as one
            return False
    return True


def _box(part: np.ndarray) -> list[float]:
    columns, rows = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    return [columns[0] / GRID, rows[0] / GRID, (columns[-1] + 1) / GRID, (rows[-1] + 1) / GRID]


def _contrasting(rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """The one of some random colours (3,) that differs most from all others, so that no two objects look like one."""
    candidates = rng.uniform(15, 240, (12, 3))
    distance = np.abs(candidates[:, None] - np.array(others)).sum(axis=2).min(axis=1)
    return candidates[int(distance.argmax())]


def _paint(image: np.ndarray, mask: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """The image with `surface` where the mask is, mixed along the edge by the share of the pixel it covers."""
    height, width = image.shape[:2]
    alpha = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)[..., None]
    return image + alpha * (surface - image)


def _texture(rng: np.random.Generator, colour: np.ndarray, size: tuple[int, int], *, strength: float) -> np.ndarray:
    """A (height, width, 3) float32 surface around a colour: flat, shaded, cloudy, striped, checked or dotted."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
    period = rng.uniform(0.04, 0.16) * (height + width)
    cells = rng.normal(0, 0.5, (int(rng.integers(3, 12)), int(rng.integers(3, 12)))).astype(np.float32)
    kind = rng.choice(["flat", "shaded", "cloudy", "striped", "checked", "dotted"])
    pattern = {
        "flat": lambda: np.zeros_like(x),
        "shaded": lambda: 2 * (along - along.min()) / np.ptp(along) - 1,
        "cloudy": lambda: cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC),
        "striped": lambda: np.sin(along * np.float32(2 * np.pi / period)),
        "checked": lambda: np.tanh(
            4 * np.sin(along * np.float32(np.pi / period)) * np.sin(across * np.float32(np.pi / period))
        ),
        "dotted": lambda: (
            np.cos(along * np.float32(4 * np.pi / period)) * np.cos(across * np.float32(4 * np.pi / period))
        ),
    }[str(kind)]()
    tint = rng.uniform(0.3, 1.0, 3) * rng.uniform(0.3, 1.0) * strength
    return (colour + pattern[..., None] * tint).astype(np.float32)


def _write_split(
    directory: Path,
    split: str,
    keys: Sequence[tuple[int, int, int]],
    size: tuple[int, int],
    vary: float,
    objects: tuple[float, float] | None,
) -> None:
    """Images and annotation file of one split; image i is drawn from default_rng(keys[i])."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for key in keys:
        rng = np.random.default_rng(key)
        height, width = (int(rng.integers(round((1 - vary) * side), side + 1)) for side in size)
        scene = draw_scene(rng, (height, width), objects)
        image_id = len(images) + 1
        name = f"{split}_{key[2]:06}.jpg"
        _write_image(directory / "images" / name, scene.image)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for (x1, y1, x2, y2), label in zip(scene.boxes.tolist(), scene.labels.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write_json(directory / "annotations" / f"instances_{split}.json", content)


def _prepare(directory: Path, recipe: Mapping[str, Any]) -> bool:
    """Make the folders and remove an earlier set of ours. True if `recipe` is there already, whole."""
    mark = directory / _MARK
    if directory.exists() and (not directory.is_dir() or (any(directory.iterdir()) and not mark.is_file())):
        raise DatasetError(
            f"{directory} holds something that was not generated here; it was left alone. Choose an empty directory."
        )
    if mark.is_file():
        try:
            if json.loads(mark.read_text(encoding="utf-8")) == {**recipe, "complete": True}:
                return True
        except ValueError:
            pass  # written by a run that was interrupted: write everything anew
    for folder in (directory / "images", directory / "annotations"):
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name):
                file.unlink()
    _write_json(mark, dict(recipe))
    return False


def _write_image(path: Path, image: np.ndarray) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        path.write_bytes(encode_picture(image, path, options))
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written: {error}. Is the disk full, or the directory read-only?"
        ) from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written: {error}. Is the disk full, or the directory read-only?"
        ) from error
