"""Training views of an image: crop at a random scale, flip, colour, PCA lighting (section 4.1, official constants).

All randomness comes from the Generator in the call: the same generator state gives the same view.
Coordinates are pixel edges, x right, y down: an image of width w spans 0..w, as in the engine.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

# Eigenvalues and -vectors of the colours (BGR) of the COCO training images, from the official code.
_EIGENVALUES = np.array((0.2141788, 0.01817699, 0.00341571), np.float32)
_EIGENVECTORS = np.array(
    (
        (-0.58752847, -0.69563484, 0.41340352),
        (-0.5832747, 0.00994535, -0.81221408),
        (-0.56089297, 0.71832671, 0.41158938),
    ),
    np.float32,
)


class AugmentConfig(BaseModel):
    """What is random, and how much. The defaults are the official constants; zeros and (1.0,) switch a part off.

    resize: what scale 1 means: "fit", the scale at which the image fits the canvas, as Detector(resize="fit") shows it;
        "original", image pixels, the paper's protocol.
    scales: the crop window is the canvas times one of these; 0.6 magnifies, 1.3 shows more.
    border: the window's centre stays this far from the image's edge, as a part of the canvas; halved until it fits.
    min_visible: boxes of which less than this part of the area lies in the window are dropped (official: none is).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Literal["fit", "original"] = "fit"
    scales: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    border: float = Field(0.25, ge=0, le=0.5)
    centre: bool = Field(False, description="window always at the image's centre: with scales [1.0], no crop at all")
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.4, ge=0, lt=1)
    lighting: float = Field(0.1, ge=0)
    min_visible: float = Field(0.0, ge=0, le=1)


class View(NamedTuple):
    """image (H, W, 3) float32 in 0..1, BGR, padding 0; boxes (n, 4) float32 [px, canvas]; labels (n,) int64."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def augment(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    config: AugmentConfig,
    fill: tuple[int, int, int] = (0, 0, 0),
) -> View:
    """A random view of an image (h, w, 3) uint8 BGR and its boxes (n, 4) [px, image] on a canvas of `size` (H, W)."""
    window = random_window(image.shape[:2], rng, size=size, config=config)
    mirrored = bool(rng.random() < config.flip)
    canvas = cut_window(image, window, size, fill=fill)
    boxes, kept = boxes_in_window(boxes, window, size, min_visible=config.min_visible)
    if mirrored:
        canvas = canvas[:, ::-1]
        boxes = np.stack((size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]), axis=1)
    pixels = canvas.astype(np.float32) * np.float32(1 / 255)
    if config.colour > 0:
        pixels = jitter_colour(pixels, rng, config.colour)
    if config.lighting > 0:
        pixels += _EIGENVECTORS @ (_EIGENVALUES * rng.normal(0, config.lighting, 3).astype(np.float32))
    return View(pixels, boxes, labels[kept])


class Window(NamedTuple):
    """Part of the image that fills the canvas: its left and top edge and extent [px, image]; may reach outside."""

    left: float
    top: float
    width: float
    height: float


def random_window(
    image: tuple[int, int], rng: np.random.Generator, *, size: tuple[int, int], config: AugmentConfig
) -> Window:
    """A window of one of the scales, its centre anywhere but near the image's edge (official `random_crop`)."""
    fit = min(side / full for side, full in zip(size, image, strict=True)) if config.resize == "fit" else 1.0
    scale = float(rng.choice(config.scales)) / fit
    centres = []
    for full, side in zip(image, size, strict=True):
        border = config.border * side / fit
        while border > 0 and full - border <= border:
            border = border / 2 if border >= 1 else 0.0
        centre = rng.uniform(border, full - border)
        centres.append(full / 2 if config.centre else centre)
    height, width = size[0] * scale, size[1] * scale
    return Window(centres[1] - width / 2, centres[0] - height / 2, width, height)


def cut_window(
    image: np.ndarray, window: Window, size: tuple[int, int], *, fill: tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    """The window scaled to `size` (H, W), bilinear, what lies outside the image filled. -> (H, W, 3) uint8."""
    across, down = size[1] / window.width, size[0] / window.height
    # cv2 counts from pixel centres, we from pixel edges: half a pixel on either side of the scaling.
    matrix = np.array(
        (
            (across, 0, (0.5 - window.left) * across - 0.5),
            (0, down, (0.5 - window.top) * down - 0.5),
        )
    )
    return cv2.warpAffine(
        image, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )


def boxes_in_window(
    boxes: np.ndarray, window: Window, size: tuple[int, int], *, min_visible: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [px, image] -> boxes (m, 4) float32 [px, canvas], clipped, and which of the n they are, (n,) bool."""
    factor = np.array((size[1] / window.width, size[0] / window.height) * 2)
    moved = (np.asarray(boxes, np.float64).reshape(-1, 4) - (window.left, window.top) * 2) * factor
    clipped = moved.clip(0, (size[1], size[0]) * 2)
    sides, clipped_sides = moved[:, 2:] - moved[:, :2], clipped[:, 2:] - clipped[:, :2]
    kept = (clipped_sides > 0).all(axis=1)
    kept &= clipped_sides.prod(axis=1) >= min_visible * sides.prod(axis=1)
    return clipped[kept].astype(np.float32), kept


def jitter_colour(pixels: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Brightness, contrast and saturation, in random order, each blended by 1 + U(-amount, amount).

    pixels (H, W, 3) float32, BGR, 0..1; the result is not clipped, as in the official code.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY)
    grey_mean = np.float32(grey.mean())
    for part in rng.permutation(3).tolist():
        alpha = np.float32(1 + rng.uniform(-amount, amount))
        if part == 0:
            pixels = pixels * alpha
        elif part == 1:
            pixels = pixels * alpha + grey_mean * (1 - alpha)
        else:
            pixels = pixels * alpha + (grey * (1 - alpha))[..., None]
    return pixels
