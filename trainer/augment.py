"""Augmentation of section 4.1: random crop and scale, flip, colour jitter, PCA lighting, normalisation.

Constants are the official code's. Two things are done differently on purpose: coordinates are pixel edges as everywhere
in this project, so a mirrored box is W - x (official: W - 1 - x, one pixel off), and boxes end at W, not W - 1.
The colour steps are all affine in the pixel, so they are composed into one 3 x 4 matrix and applied in a single pass.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cornernet.engine.model_card import ModelCard
from cornernet.engine.preprocess import resize

GREY = np.array([0.114, 0.587, 0.299])
"""Luminance of blue, green, red, as cv2.COLOR_BGR2GRAY."""

EIGENVALUES = np.array([0.2141788, 0.01817699, 0.00341571])
EIGENVECTORS = np.array(
    [
        [-0.58752847, -0.69563484, 0.41340352],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.56089297, 0.71832671, 0.41158938],
    ]
)
"""Principal components of ImageNet's colours, for the lighting noise; applied to blue, green, red as officially."""

BORDER = 128 / 511
"""Crop centres keep this distance from the image's edges, as a share of the canvas side."""


class AugmentConfig(BaseModel):
    """Switches of the augmentation; the defaults are section 4.1 with the official constants."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    placement: Literal["crop", "fit"] = Field(
        default="crop", description="fit: the whole image, centred, as at prediction"
    )
    scales: tuple[float, ...] = Field(
        default=(0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), min_length=1, description="size of the crop in canvases"
    )
    scale_from: Literal["fit", "original"] = Field(
        "fit",
        description="fit: at scale 1 objects are as large as at prediction with resize='fit'; original: as in the file",
    )
    border: float = Field(
        default=BORDER, ge=0, description="distance of crop centres from the image's edges, in canvases"
    )
    min_visible: float = Field(
        default=0.0, ge=0, le=1, description="drop objects of which less than this share is in the crop"
    )
    flip: float = Field(default=0.5, ge=0, le=1, description="probability of mirroring")
    jitter: float = Field(default=0.4, ge=0, lt=1, description="brightness, contrast, saturation: factor 1 +- this")
    lighting: float = Field(default=0.1, ge=0, description="standard deviation of the PCA lighting noise")


PLAIN = AugmentConfig(placement="fit", flip=0, jitter=0, lighting=0)
"""No randomness: what the network sees at prediction."""


def augment(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    config: AugmentConfig,
    card: ModelCard,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One training view of an image; all randomness comes from `rng`.

    Args:
        image:  (h, w, 3) uint8 BGR.
        boxes:  (n, 4) x1 y1 x2 y2 [px, image] at pixel edges; labels (n,).
        size:   (H, W) [px] of the canvas.
        card:   mean, std, fill and channel order of the network's input.

    Returns:
        (H, W, 3) float32 normalised, in the card's channel order; boxes (m, 4) float32 [px, canvas] clipped to it, and
        labels (m,) of the objects that are still visible.
    """
    window = choose_window(image.shape[:2], rng, size=size, config=config)
    canvas = resize(cut(image, window, _fill_bgr(card)), size, antialias=True)
    boxes, kept = move_boxes(boxes, window, size, min_visible=config.min_visible)
    if rng.random() < config.flip:
        canvas = cv2.flip(canvas, 1)
        boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
    colours = jitter_matrix(np.array(cv2.mean(canvas)[:3]) / 255, rng, config)
    return cv2.transform(canvas.astype(np.float32), _normalised(colours, card)), boxes, labels[kept]


def choose_window(
    image: tuple[int, int], rng: np.random.Generator, *, size: tuple[int, int], config: AugmentConfig
) -> tuple[int, int, int, int]:
    """The part of the image that becomes the canvas: left, top, width, height [px, image]; may reach outside."""
    pitch = image_pitch(image, size, config)
    if config.placement == "fit":
        scale, centre = 1.0, [side // 2 for side in image]
    else:
        scale = config.scales[rng.integers(len(config.scales))]
        centre = [_centre(side, round(config.border * canvas * pitch), rng) for side, canvas in zip(image, size)]
    height, width = (max(1, round(canvas * pitch * scale)) for canvas in size)
    return centre[1] - width // 2, centre[0] - height // 2, width, height


def image_pitch(image: tuple[int, int], size: tuple[int, int], config: AugmentConfig) -> float:
    """Image pixels per canvas pixel at scale 1."""
    if config.placement == "crop" and config.scale_from == "original":
        return 1.0
    return max(side / canvas for side, canvas in zip(image, size))


def _centre(side: int, border: int, rng: np.random.Generator) -> int:
    """A crop centre at least `border` from both ends, where the border is halved until something is left."""
    while side - border <= border and border > 0:
        border //= 2
    return int(rng.integers(border, max(side - border, border + 1)))


def cut(image: np.ndarray, window: tuple[int, int, int, int], fill: tuple[int, int, int]) -> np.ndarray:
    """The window (left, top, width, height) of an image, `fill` where it reaches outside -> (height, width, 3)."""
    left, top, width, height = window
    rows = slice(max(0, top), min(image.shape[0], top + height))
    columns = slice(max(0, left), min(image.shape[1], left + width))
    inside = image[rows, columns]
    if inside.shape[:2] == (height, width):
        return inside
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = fill
    if inside.size:
        canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
    return canvas


def move_boxes(
    boxes: np.ndarray, window: tuple[int, int, int, int], size: tuple[int, int], *, min_visible: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [px, image] -> clipped boxes [px, canvas] of the objects kept, and which those are, (n,) bool.

    Kept: something is left inside the window, and at least `min_visible` of the box's area.
    """
    left, top, width, height = window
    zoom = np.array([size[1] / width, size[0] / height] * 2)
    moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - [left, top, left, top]) * zoom
    clipped = moved.clip(0, [size[1], size[0]] * 2)
    sides = clipped[:, 2:] - clipped[:, :2]
    area = (moved[:, 2:] - moved[:, :2]).prod(axis=1)
    kept = (sides > 0).all(axis=1) & (sides.prod(axis=1) >= min_visible * area)
    return clipped[kept].astype(np.float32), kept


def jitter_matrix(mean_colour: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Colour jitter and lighting as one map of (blue, green, red, 1), each in [0, 1] -> (3, 4) float64.

    Brightness scales, contrast blends with the mean grey, saturation with the pixel's grey, in random order. Both greys
    are those of the image before jitter, as in the official code. mean_colour: (3,) of the canvas.
    """
    matrix = np.eye(3, 4)
    grey = np.append(GREY, 0.0)
    mean_grey = np.array([0.0, 0.0, 0.0, float(GREY @ mean_colour)])
    if config.jitter > 0:
        for step in rng.permutation(3):
            alpha = 1 + rng.uniform(-config.jitter, config.jitter)
            matrix = alpha * matrix + (1 - alpha) * (np.zeros(4), mean_grey, grey)[step]
    if config.lighting > 0:
        matrix[:, 3] += EIGENVECTORS @ (EIGENVALUES * rng.normal(0, config.lighting, 3))
    return matrix


def _normalised(colours: np.ndarray, card: ModelCard) -> np.ndarray:
    """From pixel values 0..255 BGR to the network's input, with `colours` in between -> (3, 4) float32."""
    matrix = colours[::-1].copy() if card.channel_order == "rgb" else colours.copy()
    matrix[:, :3] /= 255
    matrix[:, 3] -= card.mean
    return (matrix / np.array(card.std)[:, None]).astype(np.float32)


def _fill_bgr(card: ModelCard) -> tuple[int, int, int]:
    first, second, third = card.fill
    return (third, second, first) if card.channel_order == "rgb" else (first, second, third)
