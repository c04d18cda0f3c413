"""The placing kernel on the host's memory, taken for a device's: arrays, a backend, and what the kernel writes."""

from __future__ import annotations

import functools
import platform
import shutil
import threading

import numpy as np
import pytest
from emulated_placing import own
from emulation import HostMemory, Kernels, built_emulation

from cornernet.engine.backends.placing import check_device, launch
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.views import ViewPlan

needs_opencv_bits = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="OpenCV rounds in another way on this processor"
)


def emulated_kernels() -> Kernels:
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to compile the kernels for the CPU")
    return Kernels(built_emulation(), HostMemory())


def plan_of(card) -> ViewPlan:
    """How a card's images are placed that nobody has settings for."""
    return ViewPlan(card, DEFAULT, fit=None, scales=(1.0,), mirror=False)


class OnDevice:
    """`values` in memory that the emulation takes for a device's, as CuPy (version 3) or PyTorch (2) hand it over."""

    def __init__(self, kernels: Kernels, values: np.ndarray, *, device: int = 0, version: int = 3, stream=None) -> None:
        self.values = values
        self.ndim, self.shape, self.dtype = values.ndim, values.shape, values.dtype
        self.copies = 0
        low, high = np.lib.array_utils.byte_bounds(values)
        own(kernels, low, high - low, device)
        address, _ = values.__array_interface__["data"]
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (address, False),
            "strides": values.strides,
            "version": version,
        } | ({"stream": stream} if version >= 3 else {})

    def get(self) -> np.ndarray:
        """To the host, as CuPy and PyCUDA have it."""
        self.copies += 1
        return self.values


class PlacesViews:
    """A backend on the host as one that places images itself. `packed`: what it was given, in order."""

    places_views = True

    def __init__(self, kernels: Kernels, backend) -> None:
        self.backend, self._launchers = backend, kernels.launchers
        self.card, self.name, self.run, self.close = backend.card, backend.name, backend.run, backend.close
        self.takes_float = getattr(backend, "takes_float", False)
        self.packed = []

    def check_image(self, image) -> None:
        check_device(map(self._launchers.device_of, image.ends), 0)

    @property
    def finishes(self) -> bool:
        return getattr(self.backend, "finishes", False)

    def run_final(self, canvases, placements, finishing):
        placed = canvases if isinstance(canvases, np.ndarray) else self._place(canvases)
        return self.backend.run_final(placed, placements, finishing)

    def run_views(self, packed):
        return self.run(self._place(packed))

    def _place(self, packed) -> np.ndarray:
        self.packed.append(packed)
        canvases = np.empty(packed.shape, np.float32 if self.takes_float else np.uint8)
        address = canvases.ctypes.data
        uploaded = packed.memory.ctypes.data
        launch(self._launchers, packed, uploaded=uploaded, canvases=address, dtype=canvases.dtype, stream=0)
        return canvases


class OnStream:
    """The emulated launchers as a fake driver has them: a kernel is not done before somebody waits for the stream.

    writes_to_device: check that the canvases are its memory. The emulation runs one kernel at a time.
    """

    _one = threading.Lock()

    def __init__(self, launchers, cuda, *, writes_to_device: bool = True) -> None:
        self._launchers, self._cuda, self._check = launchers, cuda, writes_to_device

    def place_views(self, views, canvases, size, fill, *, stream) -> None:
        place = functools.partial(self._launchers.place_views, views, canvases, size, fill)
        self._enqueue(place, canvases, len(views) * size[0] * size[1] * 3, stream)

    def place_float_views(self, views, canvases, size, fill, *, whole, stream) -> None:
        place = functools.partial(self._launchers.place_float_views, views, canvases, size, fill, whole=whole)
        self._enqueue(place, canvases, len(views) * size[0] * size[1] * 3 * 4, stream)

    def _enqueue(self, place, canvases, size, stream) -> None:
        if self._check:
            self._cuda.bytes_at(canvases, size)

        def run() -> None:
            with self._one:
                place()

        self._cuda.enqueue(stream, run)

    def corner_soft_nms(self, inputs, outputs, images, candidates, *, stream, **rules) -> None:
        sizes = (16 * images * rules["limit"], 4 * images * rules["limit"], 4 * images * rules["limit"], 4 * images)
        for address, size in zip(outputs, sizes, strict=True):
            self._cuda.bytes_at(address, size)
        self._launchers.corner_soft_nms(inputs, outputs, 0, candidates, **rules)  # wrong arguments are told at once

        def run() -> None:
            with self._one:
                self._launchers.corner_soft_nms(inputs, outputs, images, candidates, **rules)

        self._cuda.enqueue(stream, run)
