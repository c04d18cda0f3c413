"""Boxes and readable labels on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from cornernet.engine.errors import ImageError
from cornernet.engine.printable import printable

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def class_colour(label: int) -> tuple[int, int, int]:
    """A colour (BGR) per class; golden-ratio steps keep neighbouring classes far apart in hue."""
    hue = (0.58 + label * 0.618034) % 1.0
    value = (0.95, 0.75, 0.85)[label % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(blue * 255), round(green * 255), round(red * 255)


def check_picture(image: np.ndarray) -> None:
    """Raises ImageError unless it is (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"cannot draw on a {type(image).__name__}; expected an array (H, W, 3) uint8 BGR")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"cannot draw on an array of shape {image.shape} and {image.dtype}; expected (H, W, 3) uint8 BGR"
        )


def draw_detections(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str], scores: np.ndarray | None
) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 BGR with boxes (n, 4) [px] and their names. The best box is drawn last, on top.

    Line width and text follow the picture's size. Raises ImageError if `image` is not (H, W, 3) uint8.
    """
    check_picture(image)
    canvas = np.ascontiguousarray(image).copy()
    side = min(canvas.shape[:2])
    thickness = max(1, round(side / 300))
    text_scale = min(1.2, max(0.35, side / 1000))
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    for row in order:
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[row])
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), class_colour(int(labels[row])), thickness)
    for row in order:
        name = printable(names[row])  # a lone surrogate in a text ends OpenCV, and the process with it
        text = name if scores is None else f"{name} {scores[row]:.2f}"
        _draw_label(canvas, text, boxes[row], class_colour(int(labels[row])), text_scale, thickness)
    return canvas


def _draw_label(
    canvas: np.ndarray, text: str, box: np.ndarray, colour: tuple[int, int, int], scale: float, thickness: int
) -> None:
    """Text on a filled bar above the box, or inside it where there is no room; pushed back into the picture."""
    stroke = 1 if scale < 0.8 else 2
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, stroke)
    pad = max(2, round(4 * scale))
    bar_height, bar_width = height + baseline + pad, width + 2 * pad
    left = min(max(0, round(float(box[0])) - thickness // 2), max(0, canvas.shape[1] - bar_width))
    top = round(float(box[1])) - bar_height
    if top < 0:
        top = min(max(0, round(float(box[1]))), max(0, canvas.shape[0] - bar_height))
    cv2.rectangle(canvas, (left, top), (left + bar_width, top + bar_height), colour, cv2.FILLED)
    blue, green, red = colour
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else (255, 255, 255)
    cv2.putText(canvas, text, (left + pad, top + height + pad // 2), _FONT, scale, ink, stroke, cv2.LINE_AA)
