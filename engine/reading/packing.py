"""Views of images -> what a device needs to place them itself: the twin of preprocess.place_on_canvas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.backends.placing import Packed, ViewToPlace
from cornernet.engine.geometry import Placement
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.preprocess import averages_areas

Pixels = np.ndarray | DeviceImage
"""(H, W, 3) uint8 BGR, on the host or on the device."""


def packed_bytes(images: Iterable[Pixels]) -> int:
    """Host memory that `pack` needs for views of these images [bytes]. An image with many views is uploaded once."""
    return sum(image.size for image in _each_once(images) if isinstance(image, np.ndarray))


def pack(views: Sequence[tuple[Pixels, Placement]], memory: np.ndarray, card: ModelCard, protocol: Protocol) -> Packed:
    """Copy what lies on the host into `memory` (bytes,) uint8, and describe where everything goes.

    views: of one canvas size. The kernel makes of them, bit for bit, what `place_on_canvas` makes.
    """
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
        height, width, _ = image.shape
        described.append(
            ViewToPlace(
                address=address,
                packed=isinstance(image, np.ndarray),
                strides=(rows, pixels, channels),
                source=(height, width),
                resized=placement.resized,
                top=placement.top,
                left=placement.left,
                shown=placement.shown,
                mirrored=placement.mirrored is not None,
                area=averages_areas((height, width), placement.resized, protocol.antialias),
            )
        )
    on_device = tuple(image for image in images if isinstance(image, DeviceImage))
    return Packed(memory[:used], tuple(described), on_device, views[0][1].canvas, card.fill)


def _each_once(images: Iterable[Pixels]) -> Iterable[Pixels]:
    return {id(image): image for image in images}.values()
