"""The placing kernel in front of a runtime: what lies on the host is uploaded, then canvases appear in its input."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends.cuda_memory import DeviceBuffer, PinnedBuffer, Stream
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.placing import Packed, check_device, launch, open_launchers
from cornernet.engine.backends.trt_api import driver_problem
from cornernet.engine.errors import ImageError
from cornernet.plugins import library_path
from cornernet.plugins.launchers import Launchers

log = logging.getLogger("cornernet.placing")


class Placer:
    """Memory for images on their way, on one stream. It grows with the largest batch, and is kept.

    lent: page-locked memory that callers may hand in; what lies elsewhere is copied once more. dtype: of canvases.
    """

    def __init__(
        self, cuda: Cuda, stream: Stream, launchers: Launchers, lent: Sequence[PinnedBuffer], dtype: np.dtype[Any]
    ) -> None:
        self._cuda, self._stream, self._launchers, self._lent, self._dtype = cuda, stream, launchers, lent, dtype
        self._uploaded, self._staging = DeviceBuffer(cuda, 0), PinnedBuffer(cuda, 0)

    def place(self, packed: Packed, canvases: int) -> None:
        """Put on the stream: all pixels of the canvases at this address. Raises BackendError, CudaError."""
        size = packed.memory.nbytes
        if size:
            if size > self._uploaded.size:
                self._stream.synchronize()
                self._uploaded.free()
                self._uploaded = DeviceBuffer(self._cuda, size)
            self._stream.upload(self._uploaded.address, self._page_locked(packed.memory), size)
        for producer in packed.producers:
            self._stream.wait_for(producer)
        launch(
            self._launchers,
            packed,
            uploaded=self._uploaded.address,
            canvases=canvases,
            dtype=self._dtype,
            stream=self._stream.handle,
        )

    def _page_locked(self, memory: np.ndarray) -> int:
        """Address of these bytes in memory that is uploaded beside the GPU's work."""
        address = memory.ctypes.data
        if any(buffer.holds(address, memory.nbytes) for buffer in self._lent):
            return address
        if memory.nbytes > self._staging.size:
            self._stream.synchronize()  # images of a batch that failed may be on their way
            self._staging.free()
            self._staging = PinnedBuffer(self._cuda, memory.nbytes)
        self._staging.array(memory.shape, memory.dtype)[...] = memory
        return self._staging.address

    def free(self) -> None:
        self._uploaded.free()
        self._staging.free()


def check_addresses(cuda: Cuda, *addresses: int) -> None:
    """Raise ImageError unless memory at these addresses can be read on the device of `cuda`."""
    with cuda.current():
        check_device(map(cuda.device_of, addresses), cuda.device)
        if any(map(cuda.is_in_another_context, addresses)):
            raise ImageError(
                "the array belongs to a CUDA context that is not the device's primary one, so it cannot be read here. "
                "With PyCUDA: import pycuda.autoprimaryctx in place of pycuda.autoinit or make_context()."
            )


def placing_launchers(cuda: Cuda, library: Path | None) -> Launchers | None:
    """The kernel that places images, from an engine's library or the installed one; None if neither can do it."""
    library = library or library_path()
    problem = "" if library is None else driver_problem(library, cuda.driver_version())
    if problem:
        log.warning("images are placed on the host: %s", problem)
    return None if problem else open_launchers(library)
