"""Views of images -> what a device needs to place them itself: the twin of `Looks.place`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cornernet.engine.backends.device_arrays import UINT8, DeviceImage
from cornernet.engine.backends.placing import Packed, Part, ViewToPlace
from cornernet.engine.geometry import Placed
from cornernet.engine.reading.views import Looks

Pixels = np.ndarray | DeviceImage
"""(H, W, 3) uint8 BGR, on the host or on the device."""

Views = Sequence[tuple[Pixels, Placed]]
"""Of one canvas size. An image may have many."""


def packed_bytes(views: Views, plan: Looks) -> int:
    """Host memory that `pack` needs for these views [bytes]."""
    return sum(window.size for window, _ in _windows(views, _parts(views, plan)).values())


def pack(views: Views, memory: np.ndarray, plan: Looks, *, dtype: np.dtype[Any] = UINT8) -> Packed:
    """Copy what lies on the host into `memory` (bytes,) uint8, and describe where everything goes.

    The kernel makes of them what `plan.place` makes. Of an image on the host the rectangle around all its parts is
    copied, once. dtype: see `Packed`.
    """
    parts, card = _parts(views, plan), plan.card
    lies: dict[int, tuple[int, tuple[int, ...]]] = {}
    """Where each image's first pixel is, or would be, and its strides."""
    used = 0
    for key, (window, (top, left)) in _windows(views, parts).items():
        target = memory[used : used + window.size].reshape(window.shape)
        target[...] = window
        rows, pixels, _ = target.strides
        lies[key] = used - top * rows - left * pixels, target.strides
        used += window.size
    described = []
    for (image, _), part in zip(views, parts, strict=True):
        address, (rows, pixels, channels) = (
            (image.address, image.strides) if isinstance(image, DeviceImage) else lies[id(image)]
        )
        if card.channel_order == "rgb":
            address, channels = address + 2 * channels, -channels
        address += part.first[0] * rows + part.first[1] * pixels
        described.append(ViewToPlace(address, isinstance(image, np.ndarray), (rows, pixels, channels), part))
    images = tuple({id(image): image for image, _ in views if isinstance(image, DeviceImage)}.values())
    return Packed(memory[:used], tuple(described), images, views[0][1].canvas, card.fill, dtype)


def _parts(views: Views, plan: Looks) -> list[Part]:
    return [plan.part((image.shape[0], image.shape[1]), placement) for image, placement in views]


def _windows(views: Views, parts: Sequence[Part]) -> dict[int, tuple[np.ndarray, tuple[int, int]]]:
    """Of each image on the host, by its id: what its parts lie in, and where that begins [px]."""
    of_each: dict[int, tuple[np.ndarray, list[Part]]] = {}
    for (image, _), part in zip(views, parts, strict=True):
        if isinstance(image, np.ndarray):
            of_each.setdefault(id(image), (image, []))[1].append(part)
    found = {}
    for key, (image, its) in of_each.items():
        top, left = (min(part.first[axis] for part in its) for axis in (0, 1))
        bottom, right = (max(part.first[axis] + part.source[axis] for part in its) for axis in (0, 1))
        found[key] = image[top:bottom, left:right], (top, left)
    return found
