"""Device memory, streams and events from the NVIDIA driver alone (ctypes on libcuda): for kernel tests and benchmarks.

Applications have better sources of device memory; this one needs nothing installed beside the driver.
"""

import ctypes
from collections.abc import Callable
from types import TracebackType


class DriverError(RuntimeError):
    """A driver call failed."""


class Driver:
    """The first GPU. At the end of a `with` the memory allocated through it is freed and the context let go.

    Raises DriverError without a driver or a GPU.
    """

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise DriverError(f"no NVIDIA driver: {error}") from error
        self._allocations: list[int] = []
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        # The primary context is the one the CUDA runtime inside the plugin library uses.
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._device = device
        name = ctypes.create_string_buffer(100)
        self._call("cuDeviceGetName", name, 100, device)
        self.device_name = name.value.decode()

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(code, ctypes.byref(text))
            raise DriverError(f"{name} returned {code}: {(text.value or b'unknown error').decode()}")

    def compute_capability(self) -> tuple[int, int]:
        return self._attribute(75), self._attribute(76)

    def l2_bytes(self) -> int:
        return self._attribute(38)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def allocate(self, size: int) -> int:
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        self._allocations.append(address.value)
        return address.value

    def to_device(self, destination: int, source: int, size: int) -> None:
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(destination), ctypes.c_void_p(source), ctypes.c_size_t(size))

    def to_host(self, destination: int, source: int, size: int) -> None:
        self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(destination), ctypes.c_uint64(source), ctypes.c_size_t(size))

    def copy_on_device(self, destination: int, source: int, size: int, stream: int) -> None:
        arguments = (
            ctypes.c_uint64(destination),
            ctypes.c_uint64(source),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )
        self._call("cuMemcpyDtoDAsync_v2", *arguments)

    def fill(self, destination: int, byte: int, size: int) -> None:
        """Asynchronous: `synchronize` before anything on another stream uses the memory."""
        self._call("cuMemsetD8_v2", ctypes.c_uint64(destination), ctypes.c_ubyte(byte), ctypes.c_size_t(size))

    def synchronize(self) -> None:
        self._call("cuCtxSynchronize")

    def new_stream(self) -> int:
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 1)  # does not wait for the legacy default stream
        return stream.value or 0

    def new_event(self) -> int:
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), 0)
        return event.value or 0

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", ctypes.c_void_p(event), ctypes.c_void_p(stream))

    def elapsed_ms(self, start: int, stop: int) -> float:
        """Time between two events; waits for the second."""
        self._call("cuEventSynchronize", ctypes.c_void_p(stop))
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), ctypes.c_void_p(start), ctypes.c_void_p(stop))
        return milliseconds.value

    def capture(self, stream: int, enqueue: Callable[[], None]) -> int:
        """Records what `enqueue()` puts on the stream as a CUDA graph; returns the executable graph."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), 1)
        enqueue()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
        return executable.value or 0

    def launch_graph(self, executable: int, stream: int) -> None:
        self._call("cuGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream))

    def free_all(self) -> None:
        for address in self._allocations:
            self._call("cuMemFree_v2", ctypes.c_uint64(address))
        self._allocations.clear()

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free_all()
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)
