"""Device memory, pinned memory, streams, events and graphs.

Every object frees itself once in `free()`; nothing is freed by garbage collection, whose order is not ours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.errors import BackendError


class DeviceBuffer:
    """`size` bytes of device memory at `address` (256-byte aligned). Raises CudaError if there is not enough."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, size
        self.address = int(cuda.call("cudaMalloc", size)) if size else 0

    def free(self) -> None:
        if self.address:
            address, self.address = self.address, 0
            self._cuda.call("cudaFree", address)


class PinnedBuffer:
    """`size` bytes of page-locked host memory: copies from and to it run beside the GPU's work."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        self._cuda, self.size = cuda, size
        self.address = int(cuda.call("cudaHostAlloc", size, 0)) if size else 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """The first bytes as an array (a view: valid until `free`)."""
        size = int(np.prod(shape)) * dtype.itemsize
        assert size <= self.size, (shape, dtype, self.size)
        raw = (ctypes.c_ubyte * size).from_address(self.address)
        return np.ctypeslib.as_array(raw).view(dtype).reshape(shape)

    def holds(self, address: int, size: int) -> bool:
        """True if `size` bytes at `address` lie in this buffer."""
        return self.address <= address and address + size <= self.address + self.size

    def free(self) -> None:
        if self.address:
            address, self.address = self.address, 0
            self._cuda.call("cudaFreeHost", address)


class Stream:
    """A queue of device work that does not wait for the default stream. `handle` is what TensorRT takes."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._stream = cuda.call("cudaStreamCreateWithFlags", cuda.runtime.cudaStreamNonBlocking)
        self._event = cuda.call("cudaEventCreateWithFlags", cuda.runtime.cudaEventDisableTiming)
        self.handle = cuda.handle_of(self._stream)

    def upload(self, device: int, host: int, size: int) -> None:
        self._copy(device, host, size, self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def download(self, host: int, device: int, size: int) -> None:
        self._copy(host, device, size, self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def move(self, destination: int, source: int, size: int) -> None:
        self._copy(destination, source, size, self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def _copy(self, destination: int, source: int, size: int, kind: Any) -> None:
        self._cuda.call("cudaMemcpyAsync", destination, source, size, kind, self._stream)

    def wait_for(self, producer: int) -> None:
        """What is queued here from now on runs after what the stream `producer` (a handle) has been given so far."""
        self._cuda.call("cudaEventRecord", self._event, producer)
        self._cuda.call("cudaStreamWaitEvent", self._stream, self._event, 0)

    def mark(self, event: Any) -> None:
        self._cuda.call("cudaEventRecord", event, self._stream)

    def synchronize(self) -> None:
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Record what `enqueue` puts on this stream instead of running it.

        Raises CudaError or BackendError if something in it cannot be captured; the stream is usable again.
        """
        runtime = self._cuda.runtime
        # ThreadLocal: other threads may allocate memory meanwhile, which Global would forbid them.
        self._cuda.call(
            "cudaStreamBeginCapture", self._stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        try:
            enqueue()
        except BackendError:
            self._abandon_capture()
            raise
        graph = self._cuda.call("cudaStreamEndCapture", self._stream)
        try:
            executable = self._cuda.call("cudaGraphInstantiate", graph, 0)
        finally:
            self._cuda.call("cudaGraphDestroy", graph)
        return Graph(self._cuda, executable, self._stream)

    def _abandon_capture(self) -> None:
        """Leave capture mode after a failure; the broken graph, if any, is dropped."""
        runtime = self._cuda.runtime
        status, graph = runtime.cudaStreamEndCapture(self._stream)
        if int(status) == 0 and graph is not None:
            runtime.cudaGraphDestroy(graph)
        runtime.cudaGetLastError()

    def free(self) -> None:
        if self.handle:
            self.handle = 0
            self._cuda.call("cudaEventDestroy", self._event)
            self._cuda.call("cudaStreamDestroy", self._stream)


class Timer:
    """Time between two points of a stream, as the device saw it."""

    def __init__(self, cuda: Cuda, stream: Stream) -> None:
        self._cuda, self._stream = cuda, stream
        self._events = [cuda.call("cudaEventCreateWithFlags", cuda.runtime.cudaEventDefault) for _ in range(2)]

    def start(self) -> None:
        self._stream.mark(self._events[0])

    def stop(self) -> None:
        self._stream.mark(self._events[1])

    def milliseconds(self) -> float:
        """Waits for the second point."""
        self._cuda.call("cudaEventSynchronize", self._events[1])
        return float(self._cuda.call("cudaEventElapsedTime", *self._events))

    def free(self) -> None:
        while self._events:
            self._cuda.call("cudaEventDestroy", self._events.pop())


class Graph:
    """Recorded device work with fixed addresses and shapes; one launch replays it on the stream it came from."""

    def __init__(self, cuda: Cuda, executable: Any, stream: Any) -> None:
        self._cuda, self._executable, self._stream = cuda, executable, stream

    def launch(self) -> None:
        self._cuda.call("cudaGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        if self._executable is not None:
            executable, self._executable = self._executable, None
            self._cuda.call("cudaGraphExecDestroy", executable)
