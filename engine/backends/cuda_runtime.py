"""The CUDA runtime on one device, its errors and its current context. The only file that imports cuda-python.

Works with `cuda.bindings` (cuda-python 12.9.1 and 13.x) and the older `cuda.cudart`; the functions used here have the
same signature in all of them. Importing this module needs neither cuda-python nor a driver.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.errors import BackendError

INSTALL = "pip install 'cuda-python>=12.9.1'"
LEGACY_STREAM = 1
"""cudaStreamLegacy: the default stream of PyTorch, PyCUDA and everybody who asked for none."""


class CudaError(BackendError):
    """A CUDA call failed. `code` is the name, e.g. cudaErrorMemoryAllocation. `sticky`: the device context is lost."""

    def __init__(self, call: str, code: str, words: str) -> None:
        advice = _ADVICE.get((call, code)) or _ADVICE.get(code, "")
        super().__init__(f"{call} failed with {code}: {words}. {advice}".strip())
        self.code = code
        self.sticky = code in _STICKY


_ADVICE: dict[str | tuple[str, str], str] = {
    "cudaErrorMemoryAllocation": "The GPU's memory is full: use an engine with a smaller profile (`cornernet build "
    "--profile`), fewer workers, or free the memory other processes hold (nvidia-smi).",
    ("cudaHostAlloc", "cudaErrorMemoryAllocation"): "The computer's memory (not the GPU's) has no room for page-locked "
    "buffers: use an engine with a smaller profile (`cornernet build --profile`) or fewer workers, or raise what the "
    "container may use.",
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
    """The CUDA runtime on one device. `runtime`, `driver`: the modules, by default those of cuda-python.

    Raises BackendError if cuda-python is missing or needs a newer driver, CudaError if there is no driver or device.
    """

    def __init__(self, runtime: Any = None, device: int = 0, driver: Any = None) -> None:
        self.handle_of: Callable[[Any], int] = int
        if runtime is None:
            runtime, driver, self.handle_of = _import_cuda_python()
        self.runtime, self.driver, self.device = runtime, driver or runtime, device
        self._process = os.getpid()
        self._primary: int | None = None
        self._check_driver()
        count = self.call("cudaGetDeviceCount")
        if not 0 <= device < count:
            raise BackendError(f"CUDA device {device} does not exist: {count} visible (CUDA_VISIBLE_DEVICES).")

    def _check_driver(self) -> None:
        """A driver older than the major version that cuda-python brings runs nothing and only says error 35."""
        driver, runtime = self.driver_version(), self.call("cudaRuntimeGetVersion")
        if driver and driver // 1000 < runtime // 1000:
            raise BackendError(
                f"cuda-python brings CUDA {_version(runtime)}, the NVIDIA driver is for CUDA {_version(driver)}: "
                f"pip install 'cuda-python>=12.9.1,<{driver // 1000 + 1}', or install a newer driver."
            )

    def driver_version(self) -> int:
        """CUDA version of the driver as CUDA writes it, 12040 for 12.4; 0 without a driver."""
        return int(self.call("cudaDriverGetVersion"))

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

    def _drive(self, function: str, *arguments: Any) -> Any:
        """The same for the driver's functions, whose errors have no names here."""
        status, *values = getattr(self.driver, function)(*arguments)
        if int(status) != 0:
            raise CudaError(function, f"CUDA driver error {int(status)}", "the driver refused the call")
        return values[0] if len(values) == 1 else tuple(values)

    @property
    def is_forked(self) -> bool:
        """True in a child process of fork, where nothing of CUDA can be used, not even to free it."""
        return os.getpid() != self._process

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device's primary context current in the calling thread, then the caller's context again.

        A context of another kind (PyCUDA's make_context) may be current on the same device; memory allocated then
        would belong to it, out of reach of ours.
        """
        if self.is_forked:
            raise BackendError(
                f"the GPU was opened in process {self._process} and does not survive a fork; open the model in this "
                'process, or start workers with multiprocessing.get_context("spawn").'
            )
        before = self._drive("cuCtxGetCurrent")
        ours = self._primary is not None and self.handle_of(before) == self._primary
        if not ours:
            self.call("cudaSetDevice", self.device)
            self._primary = self.handle_of(self._drive("cuCtxGetCurrent"))
        try:
            yield
        finally:
            if not ours:
                self._drive("cuCtxSetCurrent", before)

    def device_of(self, address: int) -> int | None:
        """Index of the device whose memory `address` lies in; None for host memory or no memory at all."""
        kinds = self.runtime.cudaMemoryType
        found = self.call("cudaPointerGetAttributes", address)
        return int(found.device) if found.type in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged) else None

    def is_in_another_context(self, address: int) -> bool:
        """True if device memory belongs to a context that is not the device's primary one, so that it cannot be read.
        Memory of a pool (cudaMallocAsync) belongs to none and can."""
        attribute = self.driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        with self.current():
            owner = self.handle_of(self._drive("cuPointerGetAttribute", attribute, address))
        return owner not in (0, self._primary)

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


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _import_cuda_python() -> tuple[Any, Any, Callable[[Any], int]]:
    """Runtime, driver, and what turns their objects into addresses: int() of one is deprecated since 12.9.1."""
    for runtime, driver in (("cuda.bindings.runtime", "cuda.bindings.driver"), ("cuda.cudart", "cuda.cuda")):
        try:
            modules = importlib.import_module(runtime), importlib.import_module(driver)
        except ImportError:
            continue
        try:
            handle_of = importlib.import_module("cuda.bindings.utils").get_cuda_native_handle
        except (ImportError, AttributeError):
            handle_of = int
        return *modules, handle_of
    raise BackendError(f"cuda-python is not installed. {INSTALL}")


def gpu_facts(device: int = 0) -> GpuFacts | None:
    """The GPU at hand, or None if there is no driver, no device or no cuda-python."""
    try:
        return Cuda(device=device).gpu_facts()
    except BackendError:
        return None


def driver_version() -> int:
    """CUDA version of the NVIDIA driver, 12040 for 12.4; 0 without one or without cuda-python."""
    try:
        return Cuda().driver_version()
    except BackendError:
        return 0


def why_no_gpu() -> str:
    """What keeps the GPU from being used; empty if nothing does."""
    try:
        Cuda()
    except BackendError as error:
        return str(error)
    return ""
