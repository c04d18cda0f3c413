"""Device memory, pinned memory, streams, events and graphs of CUDA. The only file that imports cuda-python.

Works with `cuda.bindings.runtime` (cuda-python 12.9 and 13.x) and the older `cuda.cudart`; the functions used here have
the same signature in all of them. Importing this module needs neither cuda-python nor a driver.

Every object frees itself once in `free()`; nothing is freed by garbage collection, whose order is not ours.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.errors import BackendError

INSTALL = "pip install 'cuda-python>=12.9'"
LEGACY_STREAM = 1
"""cudaStreamLegacy: the default stream of PyTorch, PyCUDA and everybody who asked for none."""


class CudaError(BackendError):
    """A CUDA call failed. `code` is the name, e.g. cudaErrorMemoryAllocation. `sticky`: the device context is lost."""

    def __init__(self, call: str, code: str, words: str) -> None:
        advice = _ADVICE.get(code, "")
        super().__init__(f"{call} failed with {code}: {words}. {advice}".strip())
        self.code = code
        self.sticky = code in _STICKY


_ADVICE = {
    "cudaErrorMemoryAllocation": "The GPU's memory is full: use an engine with a smaller profile (`cornernet build "
    "--profile`), fewer workers, or free the memory other processes hold (nvidia-smi).",
    "cudaErrorInsufficientDriver": "Install an NVIDIA driver, or a newer one (nvidia-smi shows the version).",
    "cudaErrorNoDevice": "No NVIDIA GPU is visible: check nvidia-smi and CUDA_VISIBLE_DEVICES.",
    "cudaErrorIllegalAddress": "The process must be started again.",
}
_STICKY = {
    "cudaErrorIllegalAddress",
    "cudaErrorLaunchFailure",
    "cudaErrorLaunchTimeout",
    "cudaErrorHardwareStackError",
    "cudaErrorIllegalInstruction",
    "cudaErrorMisalignedAddress",
    "cudaErrorECCUncorrectable",
    "cudaErrorAssert",
}


class Cuda:
    """The CUDA runtime on one device. `runtime`: the module, by default whichever of cuda-python is installed.

    Raises BackendError if cuda-python is missing, CudaError if there is no driver or device.
    """

    def __init__(self, runtime: Any = None, device: int = 0) -> None:
        self.runtime = _import_runtime() if runtime is None else runtime
        self.device = device
        count = self.call("cudaGetDeviceCount")
        if not 0 <= device < count:
            raise BackendError(f"CUDA device {device} does not exist: {count} visible (CUDA_VISIBLE_DEVICES).")

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a CUDA function by name; returns its values without the status. Raises CudaError."""
        status, *values = getattr(self.runtime, function)(*arguments)
        if int(status) != 0:
            code, words = self._describe(status)
            self.runtime.cudaGetLastError()  # a failed call stays as "last error", which TensorRT would trip over
            raise CudaError(function, code, words)
        return values[0] if len(values) == 1 else tuple(values)

    def _describe(self, status: Any) -> tuple[str, str]:
        texts = []
        for function in (self.runtime.cudaGetErrorName, self.runtime.cudaGetErrorString):
            _, text = function(status)
            texts.append(text.decode() if isinstance(text, bytes) else str(text))
        return texts[0], texts[1]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device current in the calling thread (CUDA keeps it per thread), then the caller's again."""
        before = self.call("cudaGetDevice")
        if before != self.device:
            self.call("cudaSetDevice", self.device)
        try:
            yield
        finally:
            if before != self.device:
                self.call("cudaSetDevice", before)

    def device_of(self, address: int) -> int | None:
        """Index of the device whose memory `address` lies in; None for host memory or no memory at all."""
        kinds = self.runtime.cudaMemoryType
        found = self.call("cudaPointerGetAttributes", address)
        return int(found.device) if found.type in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged) else None

    def gpu_facts(self) -> GpuFacts:
        """Name, compute capability and number of multiprocessors of the device."""
        name = self.call("cudaGetDeviceProperties", self.device).name
        attribute = self.runtime.cudaDeviceAttr
        major, minor, multiprocessors = (
            int(self.call("cudaDeviceGetAttribute", which, self.device))
            for which in (
                attribute.cudaDevAttrComputeCapabilityMajor,
                attribute.cudaDevAttrComputeCapabilityMinor,
                attribute.cudaDevAttrMultiProcessorCount,
            )
        )
        return GpuFacts(
            name=name.decode().rstrip("\0") if isinstance(name, bytes) else str(name),
            compute_capability=f"{major}.{minor}",
            multiprocessors=multiprocessors,
        )


def _import_runtime() -> Any:
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise BackendError(f"cuda-python is not installed. {INSTALL}")


def gpu_facts(device: int = 0) -> GpuFacts | None:
    """The GPU at hand, or None if there is no driver, no device or no cuda-python."""
    try:
        return Cuda(device=device).gpu_facts()
    except BackendError:
        return None


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
        self.handle = int(self._stream)

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
