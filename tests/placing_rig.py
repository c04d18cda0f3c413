"""The placing kernel on the host's memory, taken for a device's: arrays, a backend, and what the kernel writes."""

from __future__ import annotations

import ctypes
import shutil
import threading

import numpy as np
import pytest
from emulation import HostMemory, Kernels, built_emulation
from fake_backends import FunctionBackend

from cornernet.engine.backends.placing import check_device, launch
from cornernet.plugins.launchers import View


def emulated_kernels() -> Kernels:
    if shutil.which("g++") is None:
        pytest.skip("needs g++ to compile the kernels for the CPU")
    return Kernels(built_emulation(), HostMemory())


def own(kernels: Kernels, address: int, size: int, device: int = 0) -> None:
    """Memory that the emulation takes for a device's from now on; without a size it forgets all there was."""
    function = kernels.launchers.library.host_cuda_device_memory
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function(address, size, device)


def place(kernels: Kernels, pixels: np.ndarray, views: list[dict], size: tuple[int, int], fill=(0, 0, 0)) -> np.ndarray:
    """Canvases (n, *size, 3). `pixels` and strides of the views count within `pixels`; a missing stride is dense."""
    base = kernels.put(pixels)
    room = kernels.room((len(views), *size, 3), np.uint8)
    dense = {"channel_stride": 1, "pixel_stride": 3}
    whole = [dense | {"row_stride": 3 * view["columns"]} | view for view in views]
    described = [View(**view | {"pixels": base + view["pixels"]}) for view in whole]
    kernels.launchers.place_views(described, room[0], size, fill, stream=kernels.stream)
    result = kernels.result(room)
    kernels.memory.free_all()
    return result


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


class PlacingBackend(FunctionBackend):
    """One that places images itself. `packed`: what it was given, in order."""

    places_views = True

    def __init__(self, kernels: Kernels, find, card=None) -> None:
        super().__init__(find, card)
        self._launchers = kernels.launchers
        self.packed = []

    def check_image(self, image) -> None:
        check_device(map(self._launchers.device_of, image.ends), 0)

    def run_views(self, packed):
        self.packed.append(packed)
        canvases = np.empty(packed.shape, np.uint8)
        address = canvases.ctypes.data
        launch(self._launchers, packed, uploaded=packed.memory.ctypes.data, canvases=address, stream=0)
        return self.run(canvases)


class OnStream:
    """The emulated launchers as a fake driver has them: the kernel is not done before somebody waits for the stream.

    writes_to_device: check that the canvases are its memory. The emulation runs one kernel at a time.
    """

    _one = threading.Lock()

    def __init__(self, launchers, cuda, *, writes_to_device: bool = True) -> None:
        self._launchers, self._cuda, self._check = launchers, cuda, writes_to_device

    def place_views(self, views, canvases, size, fill, *, stream) -> None:
        if self._check:
            self._cuda.bytes_at(canvases, len(views) * size[0] * size[1] * 3)

        def run() -> None:
            with self._one:
                self._launchers.place_views(views, canvases, size, fill)

        self._cuda.enqueue(stream, run)
