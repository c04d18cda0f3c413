"""Device memory that callers hold: results that were left there, for anything that reads `__cuda_array_interface__`.

A block is a batch's. It comes back when the last array on it is gone, and is used again. That happens in garbage
collection, in any thread and in the middle of anything, so no lock is taken there.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

import numpy as np

from cornernet.engine.backends.cuda_memory import DeviceBuffer, Stream
from cornernet.engine.backends.cuda_runtime import LEGACY_STREAM, Cuda


class Block:
    """`buffer` as long as somebody holds this."""

    def __init__(self, cuda: Cuda, buffer: DeviceBuffer) -> None:
        self.cuda, self.buffer = cuda, buffer


class Blocks:
    """Blocks that are not held, for the next batches; thread-safe."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._free: deque[DeviceBuffer] = deque()
        self._closed = False

    def borrow(self, size: int, stream: Stream) -> Block:
        """At least `size` bytes for work on `stream`, which waits for what the default stream still reads of them.
        Raises CudaError."""
        buffer = None
        while buffer is None and self._free:
            try:
                found = self._free.popleft()
            except IndexError:  # another thread was faster
                break
            if found.size >= size:
                buffer = found
                stream.wait_for(LEGACY_STREAM)
            else:  # batches have grown
                found.free()
        buffer = buffer or DeviceBuffer(self._cuda, size)
        block = Block(self._cuda, buffer)
        weakref.finalize(block, self._give_back, buffer).atexit = False
        return block

    def _give_back(self, buffer: DeviceBuffer) -> None:
        self._free.append(buffer)
        if self._closed and not self._cuda.is_forked:  # nobody would use it again; a fork has nothing to free
            self._clear()

    def _clear(self) -> None:
        with self._cuda.current():
            while self._free:
                self._free.pop().free()

    def close(self) -> None:
        """Free what is not held; the rest once it is not."""
        self._closed = True
        self._clear()


class HeldArray:
    """An array in device memory, C-contiguous and complete; it and what is made of it keep the memory alive."""

    def __init__(self, block: Block, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._block, self._offset, self.shape, self.dtype = block, offset, shape, dtype

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3, without a stream: there is nothing to wait for."""
        address = self._block.buffer.address + self._offset if 0 not in self.shape else 0
        facts = {"shape": self.shape, "typestr": self.dtype.str, "data": (address, False)}
        return facts | {"version": 3, "strides": None, "stream": None}

    def __len__(self) -> int:
        return self.shape[0]

    def get(self) -> np.ndarray:
        """A copy on the host, as CuPy and PyCUDA have it."""
        values, cuda = np.empty(self.shape, self.dtype), self._block.cuda
        if values.size:
            kind = cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
            address = self._block.buffer.address + self._offset
            with cuda.current():
                cuda.call("cudaMemcpy", values.ctypes.data, address, values.nbytes, kind)
        return values
