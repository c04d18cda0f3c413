"""Image -> canvas: scale, centre, pad, mirror, colour order. Normalisation is inside the network file."""

from __future__ import annotations

import cv2
import numpy as np

from cornernet.engine.geometry import Placement
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol


def place_on_canvas(image: np.ndarray, placement: Placement, card: ModelCard, protocol: Protocol) -> np.ndarray:
    """The network's input for one view.

    Args:
        image: (H, W, 3) uint8 BGR, of the size `placement.image`.
        card: says the colour order and the padding value.

    Returns:
        canvas (h, w, 3) uint8 C-contiguous in the card's channel order, padded with `card.fill`.
    """
    assert image.shape[:2] == placement.image, (image.shape, placement)
    resized = resize(image, placement.resized, antialias=protocol.antialias)
    if card.channel_order == "rgb":
        resized = resized[:, :, ::-1]
    height, width = placement.shown
    content = resized[:height, :width]
    canvas = np.empty((*placement.canvas, 3), np.uint8)
    canvas[:] = card.fill
    canvas[placement.top : placement.top + height, placement.left : placement.left + width] = content
    return np.ascontiguousarray(canvas[:, ::-1]) if placement.mirrored else canvas


def resize(image: np.ndarray, size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """(H, W, 3) uint8 -> (*size, 3) uint8. Bilinear; area averaging where bilinear would skip pixels (below half
    size).
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = min(height / image.shape[0], width / image.shape[1]) < 0.5
    method = cv2.INTER_AREA if antialias and shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)
