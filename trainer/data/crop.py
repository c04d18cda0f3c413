"""Training crops of a CornerNet-Saccade (CornerNet-Lite, its sampling function): a window around one object, zoomed.

An object keeps its size class: a small one is shown small, but not smaller than half its class's bound, a large one
large. So the network learns what it is asked at test time: attention to objects of a view by their size, and boxes of
objects that were zoomed according to it.

Chance is drawn in the official order (box, length, coin, x, y), so that the same numbers give the same crop.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from cornernet.trainer.data.augment import Window


class CropConfig(BaseModel):
    """What is random in a crop, and how much. The values are the official ones but for `views` and `window`.

    scales: canvas pixels per image pixel of crops that follow no object, drawn from these.
    centred: part of the crops that have their object in the middle, give or take `jitter` - 1 pixels of the canvas; the
        others have it anywhere.
    free: part of the crops that follow no object though there is one. Officially 0; the configuration asks for them
        (rand_full_crop), by a name that the code does not know. By the name that it knows it would be 0.3.
    views: part of the crops that show the whole picture, as large as the canvas takes it: what the first look sees,
        where objects are smaller than a crop around one ever shows its own. Officially 0.
    window: "whole": the crop fills the canvas, x is mirrored to W - x, a box may end at W. "official": its last row and
        column stay black, x goes to W - 1 - x, and a box ends a pixel before the edge that cuts it.
    min_visible: of an object of which not more than this part of the area is in the crop, no corners are learnt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: tuple[PositiveFloat, ...] = Field(default=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1), min_length=1)
    centred: float = Field(default=0.5, ge=0, le=1)
    jitter: int = Field(default=15, ge=1)
    free: float = Field(default=0.0, ge=0, le=1)
    views: float = Field(default=0.25, ge=0, le=1)
    window: Literal["whole", "official"] = "whole"
    min_visible: float = Field(default=0.5, ge=0, le=1)


class Crop(NamedTuple):
    """Where a square canvas lies.

    scale: canvas pixels per image pixel; centre: (y, x) [px, scaled image], whole, of the canvas's pixel side // 2;
    reference: the box that the crop follows, None: none.
    """

    scale: float
    centre: tuple[int, int]
    reference: int | None = None


class CropBoxes(NamedTuple):
    """boxes (m, 4) float32 [px, canvas], clipped to what the canvas shows; kept (m,): which of the n boxes they are;
    visible (m,) float64: part of each object's area that is left."""

    boxes: np.ndarray
    kept: np.ndarray
    visible: np.ndarray


def random_crop(
    boxes: np.ndarray,
    image: tuple[int, int],
    rng: np.random.Generator,
    *,
    side: int,
    bounds: tuple[int, int],
    config: CropConfig,
) -> Crop:
    """A crop for an image of (height, width) and its boxes (n, 4) [px, image].

    side: of the canvas [px]. bounds: longer side above which an object is large, and above which it is medium [px].
    """
    clipped = _clipped_to_image(boxes, image, config)
    inside = np.flatnonzero((_sides(clipped) > 0).all(axis=1))
    if config.views and rng.random() < config.views:
        scale = side / max(image)
        height, width = scaled_size(image, scale)
        return Crop(scale, (height // 2, width // 2))
    if len(inside) == 0 or (config.free and rng.random() < config.free):
        scale, box, reference = config.scales[int(rng.integers(0, len(config.scales)))], None, None
    else:
        reference = int(inside[rng.integers(0, len(inside))])
        # What is shorter than a pixel shows nothing if it is magnified more than that.
        longer = max(1.0, float(_sides(clipped[reference]).max()))
        scale = int(rng.integers(*_lengths(longer, side, bounds))) / longer
        box = clipped[reference] * scale
    centred = rng.random() > 1 - config.centred
    height, width = scaled_size(image, scale)
    x = _centre(None if box is None else box[0::2], width, centred, rng, side, config)
    y = _centre(None if box is None else box[1::2], height, centred, rng, side, config)
    return Crop(scale, (y, x), reference)


def _lengths(longer: float, side: int, bounds: tuple[int, int]) -> tuple[int, int]:
    """The lengths that an object may get on the canvas, from the first to before the second [px]."""
    large, medium = bounds
    if longer > large:
        return large, side
    return (medium, large + 1) if longer > medium else (medium // 2, medium + 1)


def _centre(
    span: np.ndarray | None, length: int, centred: bool, rng: np.random.Generator, side: int, config: CropConfig
) -> int:
    """Where the middle of the canvas lies on one axis of the scaled image; span: the object's two ends there."""
    if length <= side:
        return length // 2
    if span is None or not centred:
        first, last = (max(span[1] - side, 0), min(length - side, span[0])) if span is not None else (0, length - side)
        # An object longer than the canvas, or at the edge of what is rounded, leaves no room: the last start then.
        return int(rng.integers(min(int(first), int(last)), int(last) + 1)) + side // 2
    middle = (span[0] + span[1]) // 2
    first = max(middle - int(rng.integers(0, config.jitter)), 0)
    last = min(middle + int(rng.integers(0, config.jitter)), length - 1)
    return int(rng.integers(min(int(first), int(last)), int(last) + 1))


def scaled_size(image: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) [px] of the scaled image: whole pixels, at least one."""
    return max(1, int(image[0] * scale)), max(1, int(image[1] * scale))


def crop_window(crop: Crop, image: tuple[int, int], side: int, config: CropConfig) -> Window:
    """The part of the image that lies under the canvas."""
    down = across = crop.scale
    if config.window == "official":  # the whole image is resized to whole pixels first
        down, across = (part / full for part, full in zip(scaled_size(image, crop.scale), image))
    (top, left), half = crop.centre, side // 2
    return Window((left - half) / across, (top - half) / down, side / across, side / down)


def shown(crop: Crop, image: tuple[int, int], side: int, config: CropConfig) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 of the image on the canvas [px]: beyond that there is nothing but padding."""
    official = config.window == "official"
    height, width = scaled_size(image, crop.scale) if official else (image[0] * crop.scale, image[1] * crop.scale)
    end, (y, x) = side // 2 * 2 if official else side, (side // 2 - centre for centre in crop.centre)
    return max(0, x), max(0, y), min(end, x + width), min(end, y + height)


def boxes_in_crop(boxes: np.ndarray, image: tuple[int, int], crop: Crop, *, side: int, config: CropConfig) -> CropBoxes:
    """Boxes (n, 4) [px, image] scaled, shifted, clipped; those of which nothing is left are dropped."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    shift = np.array([side // 2 - crop.centre[1], side // 2 - crop.centre[0]] * 2)
    x1, y1, x2, y2 = shown(crop, image, side, config)
    last = 1 if config.window == "official" else 0
    moved = _clipped_to_image(boxes, image, config) * crop.scale + shift
    clipped = moved.clip([x1, y1, x1, y1], [x2 - last, y2 - last] * 2)
    found = clipped.astype(np.float32)  # what is narrower than its numbers are exact is gone too
    kept = np.flatnonzero((_sides(moved) > 0).all(axis=1) & (_sides(found) > 0).all(axis=1))
    visible = (_sides(clipped[kept]) / (crop.scale * _sides(boxes[kept]))).prod(axis=1)
    # A box of next to no extent is moved to where numbers are coarser, and seems to grow.
    return CropBoxes(found[kept], kept, np.minimum(visible, 1))


def mirrored(boxes: np.ndarray, side: int, config: CropConfig) -> np.ndarray:
    """The boxes (n, 4) [px, canvas] on the mirrored canvas."""
    boxes = boxes.copy()
    boxes[:, [0, 2]] = (side - 1 if config.window == "official" else side) - boxes[:, [2, 0]]
    return boxes


def has_corners(boxes: CropBoxes, bounds: tuple[int, int], config: CropConfig) -> np.ndarray:
    """(m,) bool: the objects whose corners are learnt; those mostly cut off, or too small, are ignored instead.

    Too small: the longer side, between whole pixels, is below half the medium bound (16 px of a canvas of 255).
    """
    longer = _sides(np.trunc(boxes.boxes)).max(axis=1, initial=0)
    return (boxes.visible > config.min_visible) & (longer >= bounds[1] // 2)


def _clipped_to_image(boxes: np.ndarray, image: tuple[int, int], config: CropConfig) -> np.ndarray:
    last = 1 if config.window == "official" else 0
    limits = [image[1] - last, image[0] - last] * 2
    return np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, limits)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """(..., 4) x1 y1 x2 y2 -> (..., 2) width, height."""
    return boxes[..., 2:] - boxes[..., :2]
