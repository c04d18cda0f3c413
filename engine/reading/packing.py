"""Views of images -> what a device needs to place them itself: the twin of `Looks.place`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.backends.placing import UINT8, Packed, ViewToPlace
from cornernet.engine.geometry import Placed
from cornernet.engine.reading.views import Looks

Pixels = np.ndarray | DeviceImage
"""(H, W, 3) uint8 BGR, on the host or on the device."""


def packed_bytes(images: Iterable[Pixels]) -> int:
    """Host memory that `pack` needs for views of these images [bytes]. An image with many views is uploaded once."""
    return sum(image.size for image in _each_once(images) if isinstance(image, np.ndarray))


def pack(
    views: Sequence[tuple[Pixels, Placed]], memory: np.ndarray, plan: Looks, *, dtype: np.dtype[Any] = UINT8
) -> Packed:
    """Copy what lies on the host into `memory` (bytes,) uint8, and describe where everything goes.

    views: of one canvas size. The kernel makes of them what `plan.place` makes. dtype: see `Packed`.
    """
    card = plan.card
    images = list(_each_once(image for image, _ in views))
    first: dict[int, tuple[int, tuple[int, ...]]] = {}
    used = 0
    for image in images:
        if isinstance(image, np.ndarray):
            target = memory[used : used + image.size].reshape(image.shape)
            target[...] = image
            first[id(image)] = used, target.strides
            used += image.size
        else:
            first[id(image)] = image.address, image.strides
    described = []
    for image, placement in views:
        address, (rows, pixels, channels) = first[id(image)]
        if card.channel_order == "rgb":
            address, channels = address + 2 * channels, -channels
        part = plan.part((image.shape[0], image.shape[1]), placement)
        address += part.first[0] * rows + part.first[1] * pixels
        described.append(ViewToPlace(address, isinstance(image, np.ndarray), (rows, pixels, channels), part))
    on_device = tuple(image for image in images if isinstance(image, DeviceImage))
    return Packed(memory[:used], tuple(described), on_device, views[0][1].canvas, card.fill, dtype)


def _each_once(images: Iterable[Pixels]) -> Iterable[Pixels]:
    return {id(image): image for image in images}.values()
