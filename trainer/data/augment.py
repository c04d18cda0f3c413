"""Training views of an image: crop at a random scale, flip, colour, PCA lighting (section 4.1, official constants).

All randomness comes from the Generator in the call: the same generator state gives the same view.
Coordinates are pixel edges, x right, y down: an image of width w spans 0..w, as in the engine. So a mirrored x is W - x
and a box may end at W; the official code has W - 1 in both places, a pixel off.
Colour steps and normalisation are all affine in the pixel: they are composed into one matrix and applied in one pass.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from cornernet.engine.model_card import ModelCard

GREY = np.array((0.114, 0.587, 0.299))
"""Luminance of blue, green, red, as cv2.COLOR_BGR2GRAY."""

# Eigenvalues and -vectors of the colours of natural images, applied to (blue, green, red), from the official code.
_EIGENVALUES = np.array((0.2141788, 0.01817699, 0.00341571))
_EIGENVECTORS = np.array(
    (
        (-0.58752847, -0.69563484, 0.41340352),
        (-0.5832747, 0.00994535, -0.81221408),
        (-0.56089297, 0.71832671, 0.41158938),
    )
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
    scales: tuple[PositiveFloat, ...] = Field(default=(0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), min_length=1)
    border: float = Field(default=0.25, ge=0, le=0.5)
    centre: bool = Field(
        default=False, description="window always at the image's centre: with scales [1.0], no crop at all"
    )
    flip: float = Field(default=0.5, ge=0, le=1)
    colour: float = Field(default=0.4, ge=0, lt=1)
    lighting: float = Field(default=0.1, ge=0)
    min_visible: float = Field(default=0.0, ge=0, le=1)


class View(NamedTuple):
    """image (H, W, 3) float32 normalised, channel order of the card; boxes (n, 4) float32 [px, canvas]; labels (n,)."""

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
    card: ModelCard,
) -> View:
    """A random view of an image (h, w, 3) uint8 BGR and its boxes (n, 4) [px, image] on a canvas of `size` (H, W).

    card: mean, std, fill and channel order of the network's input. What lies outside the image is filled before the
    colours change, as in the official code.
    """
    window = random_window(image.shape[:2], rng, size=size, config=config)
    canvas = cut_window(image, window, size, fill=fill_of(card))
    boxes, kept = boxes_in_window(boxes, window, size, min_visible=config.min_visible)
    if rng.random() < config.flip:
        canvas = cv2.flip(canvas, 1)
        boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
    return View(network_input(canvas, rng, config, card), boxes, labels[kept])


def fill_of(card: ModelCard) -> tuple[int, int, int]:
    """Blue, green, red of the padding."""
    first, second, third = card.fill
    return (third, second, first) if card.channel_order == "rgb" else card.fill


def network_input(canvas: np.ndarray, rng: np.random.Generator, config: AugmentConfig, card: ModelCard) -> np.ndarray:
    """A canvas (H, W, 3) uint8 BGR in random colours, normalised -> (H, W, 3) float32, channel order of the card."""
    colours = colour_matrix(np.array(cv2.mean(canvas)[:3]) / 255, rng, config)
    return cv2.transform(canvas.astype(np.float32), _normalised(colours, card))


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


def colour_matrix(mean_colour: np.ndarray, rng: np.random.Generator, config: AugmentConfig) -> np.ndarray:
    """Colour jitter and PCA lighting as one map of (blue, green, red, 1), each in 0..1 -> (3, 4) float64.

    Brightness scales, contrast blends with the mean grey, saturation with the pixel's grey, in random order, each by
    1 + U(-colour, colour). Both greys are those of the canvas before any step and nothing is clipped, as officially.
    mean_colour: (3,) of the canvas.
    """
    matrix = np.eye(3, 4)
    blends = (np.zeros(4), np.array((0, 0, 0, GREY @ mean_colour)), np.append(GREY, 0))
    if config.colour > 0:
        for step in rng.permutation(3):
            alpha = 1 + rng.uniform(-config.colour, config.colour)
            matrix = alpha * matrix + (1 - alpha) * blends[step]
    if config.lighting > 0:
        matrix[:, 3] += _EIGENVECTORS @ (_EIGENVALUES * rng.normal(0, config.lighting, 3))
    return matrix


def _normalised(colours: np.ndarray, card: ModelCard) -> np.ndarray:
    """From pixel values 0..255 BGR to the network's input, with `colours` in between -> (3, 4) float32."""
    matrix = colours[::-1].copy() if card.channel_order == "rgb" else colours.copy()
    matrix[:, :3] /= 255
    matrix[:, 3] -= card.mean
    return (matrix / np.array(card.std)[:, None]).astype(np.float32)
