"""Arrays that already lie on the GPU: anything with `__cuda_array_interface__` (PyCUDA, CuPy, Numba, PyTorch).

https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, versions 2 and 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cornernet.engine.backends.cuda_runtime import LEGACY_STREAM
from cornernet.engine.errors import ImageError


class DeviceArray(NamedTuple):
    """address: of the first byte, on the device. shape: (N, H, W, 3), uint8, C-contiguous.
    producer: stream to wait for before reading; None: the data is ready."""

    address: int
    shape: tuple[int, int, int, int]
    producer: int | None


def describe(array: Any) -> DeviceArray:
    """Check canvases (N, H, W, 3) uint8 in device memory; nothing is copied.

    Raises ImageError saying what does not fit. The array must stay alive until the call that uses it returns.
    """
    facts = getattr(array, "__cuda_array_interface__", None)
    if facts is None:
        raise ImageError(
            f"{type(array).__name__} is not a device array: it has no __cuda_array_interface__. "
            "Give a PyCUDA, CuPy, Numba or PyTorch CUDA array, or a numpy array to run()."
        )
    shape = tuple(int(size) for size in facts["shape"])
    if facts["typestr"] != "|u1" or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ImageError(
            f"device array has shape {shape} and type {facts['typestr']}; expected (N, H, W, 3) uint8 ('|u1')."
        )
    dense = (shape[1] * shape[2] * 3, shape[2] * 3, 3, 1)
    strides = facts.get("strides")
    if strides is not None and any(n > 1 and s != d for n, s, d in zip(shape, strides, dense)):
        raise ImageError(
            f"device array of shape {shape} has strides {tuple(strides)}; expected C-contiguous {dense}. "
            "Make it so first (torch: .contiguous(), CuPy: cupy.ascontiguousarray)."
        )
    if facts.get("mask") is not None:
        raise ImageError("masked device arrays are not supported; fill the masked pixels first.")
    return DeviceArray(int(facts["data"][0]), shape, _producer(facts))  # type: ignore[arg-type]


def _producer(facts: dict[str, Any]) -> int | None:
    """Version 3 names the stream (None: nothing to wait for; 0 is not allowed). Version 2 (PyTorch, PyCUDA) says
    nothing: what the default stream was given so far is waited for, other streams are the caller's to synchronise."""
    if facts["version"] < 3:
        return LEGACY_STREAM
    stream = facts.get("stream")
    if stream == 0:
        raise ImageError("__cuda_array_interface__ names stream 0, which version 3 forbids; use 1 (legacy default).")
    return None if stream is None else int(stream)
