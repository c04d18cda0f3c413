"""Views that a backend places by itself, on its device: what `run_views` takes, and how the kernel is given it.

Contract of the kernel: plugins/kernels/place_views.h. engine/reading/packing.py makes these from images.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.backends.device_arrays import UINT8, DeviceImage, ends_of
from cornernet.engine.errors import BackendError, ImageError
from cornernet.plugins import library_path
from cornernet.plugins.launchers import SCALINGS, LaunchError, Launchers, View

log = logging.getLogger("cornernet.placing")


class Part(NamedTuple):
    """A rectangle of an image, and where it goes on its canvas. All pairs are (vertical, horizontal).

    first: its first pixel [px, image]. source, resized: [px] of the rectangle, and what it is scaled to.
    scaling: how, one of SCALINGS. top, left: where that begins on the canvas [px]. shown: [px] of it that are copied.
    mirrored: the whole canvas is mirrored, left to right.
    """

    first: tuple[int, int]
    source: tuple[int, int]
    resized: tuple[int, int]
    scaling: str
    top: int
    left: int
    shown: tuple[int, int]
    mirrored: bool = False


class ViewToPlace(NamedTuple):
    """Where a part's pixels are.

    address: of channel 0, as the canvas has it, of its first pixel, on the device; `packed`: counted from where
        `Packed.memory` is uploaded to.
    strides: [bytes] from a row, a pixel, a channel to the next.
    """

    address: int
    packed: bool
    strides: tuple[int, int, int]
    part: Part


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch of canvases that are not there yet.

    memory: (bytes,) uint8, the images that lie on the host, to be uploaded in one piece; may be empty.
    views: one a canvas. images: those on the device, which stay alive with this.
    canvas: (height, width) [px]. fill: what lies around the images, in the canvas's channel order.
    dtype: of the levels: uint8, also in canvases of float32; float32: as interpolated, never rounded.
    """

    memory: np.ndarray
    views: tuple[ViewToPlace, ...]
    images: tuple[DeviceImage, ...]
    canvas: tuple[int, int]
    fill: tuple[int, int, int]
    dtype: np.dtype[Any] = UINT8

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3) of the canvases."""
        return (len(self.views), *self.canvas, 3)

    @property
    def producers(self) -> set[int]:
        """Streams whose work so far has to be waited for before images on the device are read."""
        return {image.producer for image in self.images if image.producer is not None}

    def part(self, start: int, count: int) -> Packed:
        """Some of the canvases, with the memory that they need: each part is uploaded."""
        views = self.views[start : start + count]
        ends = [
            end for view in views if view.packed for end in ends_of(view.address, (*view.part.source, 3), view.strides)
        ]
        first, last = min(ends, default=0), max(ends, default=-1)
        moved = (view._replace(address=view.address - first) if view.packed else view for view in views)
        return replace(self, memory=self.memory[first : last + 1], views=tuple(moved))


def open_launchers(library: Path | None = None) -> Launchers | None:
    """The kernels, from `library` or from where it is installed; None if it was not built, or before there was this
    kernel."""
    library = library or library_path()
    try:
        return None if library is None else Launchers(library)
    except (OSError, AttributeError) as error:
        log.warning("%s places no images, they are placed on the host: %s. Build it again.", library, error)
        return None


def launch(
    launchers: Launchers, packed: Packed, *, uploaded: int, canvases: int, dtype: np.dtype[Any], stream: int
) -> None:
    """Put the kernel on `stream`: it writes all of `canvases`, of `dtype`: uint8 or float32.

    uploaded: where `packed.memory` lies on the device. Raises BackendError if it cannot be launched.
    """
    views = [
        View(
            view.address + (uploaded if view.packed else 0),
            *view.strides,
            *view.part.source,
            *view.part.resized,
            view.part.top,
            view.part.left,
            *view.part.shown,
            view.part.mirrored,
            SCALINGS[view.part.scaling],
        )
        for view in packed.views
    ]
    whole, target = packed.dtype == UINT8, (canvases, packed.canvas, packed.fill)
    if dtype == UINT8 and not whole:
        raise BackendError(
            f"canvases of {dtype} cannot hold levels of {packed.dtype}; expected levels of uint8. Give those, or open "
            "a model that takes float32 canvases."
        )
    try:
        if dtype == UINT8:
            launchers.place_views(views, *target, stream=stream)
        else:
            launchers.place_float_views(views, *target, whole=whole, stream=stream)
    except LaunchError as error:
        raise BackendError(f"images could not be placed on the device: {error}") from error


def check_device(found: Iterable[int | None], device: int) -> None:
    """Raise ImageError unless every address of an array lies on `device`. found: where each does; None: nowhere."""
    for each in found:
        if each != device:
            where = "host memory, or in memory that was freed" if each is None else f"the memory of device {each}"
            raise ImageError(f"the array lies in {where}; expected device {device}, where the model runs.")
