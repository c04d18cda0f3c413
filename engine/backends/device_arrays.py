"""Arrays that already lie on the GPU: anything with `__cuda_array_interface__` (PyCUDA, CuPy, Numba, PyTorch).

https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, versions 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.backends.cuda_runtime import LEGACY_STREAM
from cornernet.engine.errors import ImageError

UINT8 = np.dtype(np.uint8)


class DeviceArray(NamedTuple):
    """address: of the first byte, on the device. shape: (N, H, W, 3), C-contiguous.
    producer: stream to wait for before reading; None: the data is ready. itemsize: [bytes] of one value."""

    address: int
    shape: tuple[int, int, int, int]
    producer: int | None
    itemsize: int = 1

    def part(self, start: int, count: int) -> DeviceArray:
        _, height, width, channels = self.shape
        address = self.address + start * height * width * channels * self.itemsize
        return DeviceArray(address, (count, height, width, channels), self.producer, self.itemsize)


@dataclass(frozen=True)
class DeviceImage:
    """One image on the device, uint8.

    address: of the first channel, in BGR order, of the first pixel. shape: (H, W, 3).
    strides: [bytes] from a row, a pixel, a channel to the next. owner: keeps the memory alive.
    producer: stream to wait for before reading; None: the data is ready.
    """

    address: int
    shape: tuple[int, int, int]
    strides: tuple[int, int, int]
    producer: int | None
    owner: Any = field(repr=False)

    @property
    def ends(self) -> tuple[int, int]:
        """Addresses of its first and its last byte in memory."""
        return ends_of(self.address, self.shape, self.strides)


def ends_of(address: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """Addresses of the first and the last byte in memory of an array of bytes; `address` is its first value's."""
    reach = [(extent - 1) * stride for extent, stride in zip(shape, strides)]
    return address + sum(min(0, each) for each in reach), address + sum(max(0, each) for each in reach)


def facts_of(source: Any) -> dict[str, Any] | None:
    """What an array on a device says of itself; None for everything else. Raises ImageError if it cannot say it."""
    try:
        if hasattr(source, "__dlpack__") and hasattr(source, "detach"):
            source = source.detach()  # torch: a tensor with a gradient says nothing
        facts = getattr(source, "__cuda_array_interface__", None)
    except Exception as error:  # whatever another library raises, of an array that was freed for example
        raise ImageError(f"{type(source).__name__} cannot be used: {error or type(error).__name__}") from error
    return facts if isinstance(facts, dict) else None


def describe_image(array: Any, facts: dict[str, Any], *, rgb: bool = False) -> DeviceImage:
    """Check an image (H, W, 3) uint8 in device memory, in any strides; nothing is copied. rgb: its channel order.

    Raises ImageError saying what does not fit.
    """
    try:
        return _described(array, facts, rgb=rgb)
    except ImageError:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise ImageError(f"__cuda_array_interface__ of {type(array).__name__} is not valid: {error!r}") from error


def _described(array: Any, facts: dict[str, Any], *, rgb: bool) -> DeviceImage:
    shape, kind = tuple(int(size) for size in facts["shape"]), facts["typestr"]
    if kind != "|u1" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        advice = ""
        if len(shape) == 3 and shape[0] == 3:
            advice = " Channels first: torch .permute(1, 2, 0), CuPy .transpose(1, 2, 0); nothing is copied."
        elif len(shape) == 3 and shape[2] == 4:
            advice = " Four channels: image[:, :, :3]; nothing is copied."
        raise ImageError(f"device array has shape {shape} and type {kind}; expected (H, W, 3) uint8 ('|u1').{advice}")
    if facts.get("mask") is not None:
        raise ImageError("masked device arrays are not supported; fill the masked pixels first.")
    address = int(facts["data"][0] or 0)
    if address == 0:
        raise ImageError(f"device array of shape {shape} has no memory; it may have been freed.")
    rows, pixels, channels = (int(stride) for stride in facts.get("strides") or (shape[1] * 3, 3, 1))
    if rgb:
        address, channels = address + 2 * channels, -channels
    return DeviceImage(address, shape, (rows, pixels, channels), _producer(facts), array)  # type: ignore[arg-type]


def describe(array: Any, dtype: np.dtype[Any] = UINT8) -> DeviceArray:
    """Check canvases (N, H, W, 3) of `dtype` in device memory; nothing is copied.

    Raises ImageError saying what does not fit. The array must stay alive until the call that uses it returns.
    """
    facts = getattr(array, "__cuda_array_interface__", None)
    if facts is None:
        raise ImageError(
            f"{type(array).__name__} is not a device array: it has no __cuda_array_interface__. "
            "Give a PyCUDA, CuPy, Numba or PyTorch CUDA array, or a numpy array to run()."
        )
    shape = tuple(int(size) for size in facts["shape"])
    if facts["typestr"] != dtype.str or len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ImageError(
            f"device array has shape {shape} and type {facts['typestr']}; "
            f"expected (N, H, W, 3) {dtype} ({dtype.str!r})."
        )
    size = dtype.itemsize
    dense = (shape[1] * shape[2] * 3 * size, shape[2] * 3 * size, 3 * size, size)
    strides = facts.get("strides")
    if strides is not None and any(n > 1 and s != d for n, s, d in zip(shape, strides, dense)):
        raise ImageError(
            f"device array of shape {shape} has strides {tuple(strides)}; expected C-contiguous {dense}. "
            "Make it so first (torch: .contiguous(), CuPy: cupy.ascontiguousarray)."
        )
    if facts.get("mask") is not None:
        raise ImageError("masked device arrays are not supported; fill the masked pixels first.")
    return DeviceArray(int(facts["data"][0]), shape, _producer(facts), size)  # type: ignore[arg-type]


def _producer(facts: dict[str, Any]) -> int | None:
    """Version 3 names the stream (None: nothing to wait for; 0 is not allowed). Version 2 (PyTorch, PyCUDA) says
    nothing: what the default stream was given so far is waited for, other streams are the caller's to synchronise."""
    if facts["version"] < 3:
        return LEGACY_STREAM
    stream = facts.get("stream")
    if stream == 0:
        raise ImageError("__cuda_array_interface__ names stream 0, which version 3 forbids; use 1 (legacy default).")
    return None if stream is None else int(stream)
