"""Image -> canvas: scale, centre, pad, mirror, colour order. Normalisation is inside the network file."""

from __future__ import annotations

import cv2
import numpy as np

from cornernet.engine.geometry import Placement
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol


def place_on_canvas(
    image: np.ndarray, placement: Placement, card: ModelCard, protocol: Protocol, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The network's input for one view.

    Args:
        image: (H, W, 3) uint8 BGR, of the size `placement.image`.
        card: says the colour order and the padding value.
        out: (h, w, 3) uint8 to write into, one image of a batch.

    Returns:
        canvas (h, w, 3) uint8 in the card's channel order, padded with `card.fill`.
    """
    assert image.shape[:2] == placement.image, (image.shape, placement)
    canvas = np.empty((*placement.canvas, 3), np.uint8) if out is None else out
    canvas[:] = card.fill
    height, width = placement.shown
    content = resize(image, placement.resized, antialias=protocol.antialias)[:height, :width]
    if card.channel_order == "rgb":
        content = content[:, :, ::-1]
    upright = canvas[:, ::-1] if placement.mirrored else canvas  # a view: writing into it mirrors
    upright[placement.top : placement.top + height, placement.left : placement.left + width] = content
    return canvas


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
