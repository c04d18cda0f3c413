"""The placing kernel with numpy arrays in and out, beside emulation.py and like it without pytest and the engine."""

from __future__ import annotations

import ctypes

import numpy as np
from emulation import Kernels

from cornernet.plugins.launchers import View


def own(kernels: Kernels, address: int, size: int, device: int = 0) -> None:
    """Memory that the emulation takes for a device's from now on; without a size it forgets all there was."""
    function = kernels.launchers.library.host_cuda_device_memory
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function(address, size, device)


def place(
    kernels: Kernels,
    pixels: np.ndarray,
    views: list[dict],
    size: tuple[int, int],
    fill=(0, 0, 0),
    *,
    dtype: type = np.uint8,
    whole: bool = True,
) -> np.ndarray:
    """Canvases (n, *size, 3) of `dtype`. `pixels` and strides of the views count within `pixels`; a missing stride is
    dense."""
    base = kernels.put(pixels)
    room = kernels.room((len(views), *size, 3), dtype)
    dense = {"channel_stride": 1, "pixel_stride": 3}
    complete = [dense | {"row_stride": 3 * view["columns"]} | view for view in views]
    described = [View(**view | {"pixels": base + view["pixels"]}) for view in complete]
    if dtype == np.uint8:
        kernels.launchers.place_views(described, room[0], size, fill, stream=kernels.stream)
    else:
        kernels.launchers.place_float_views(described, room[0], size, fill, whole=whole, stream=kernels.stream)
    result = kernels.result(room)
    kernels.memory.free_all()
    return result
