"""A CUDA runtime without a GPU, as strict as the real one about what the backend may do.

It stands in for the modules `cuda.bindings.runtime` and `cuda.bindings.driver`. Work put on a stream is not done
before somebody waits for it, so a result read too early is stale, as on a device. Every address
is checked against the allocation it lies in, every object must be freed once, and the current context is per thread.
It never stands in for a GPU result.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from fake_driver import PRIMARY, FakeDriver, Handle

Operation = Callable[[], None]


CODES = {
    "cudaErrorInvalidValue": 1,
    "cudaErrorMemoryAllocation": 2,
    "cudaErrorInvalidResourceHandle": 400,
    "cudaErrorIllegalAddress": 700,
    "cudaErrorStreamCaptureUnsupported": 900,
    "cudaErrorStreamCaptureInvalidated": 901,
}


class FakeCuda(FakeDriver):
    """The functions and constants of the runtime that cuda_memory.py uses, plus what tests look at."""

    cudaStreamNonBlocking = 1
    cudaEventDisableTiming, cudaEventDefault = 2, 0
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaMemoryType = SimpleNamespace(cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)
    cudaDeviceAttr = SimpleNamespace(
        cudaDevAttrComputeCapabilityMajor="major",
        cudaDevAttrComputeCapabilityMinor="minor",
        cudaDevAttrMultiProcessorCount="multiprocessors",
    )

    def __init__(self, *, devices: int = 1, memory: int = 1 << 30) -> None:
        super().__init__()
        self.devices, self.memory = devices, memory
        self.pinned: dict[int, ctypes.Array] = {}
        self.streams: dict[int, list[Operation]] = {1: []}
        self.stream_device: dict[int, int] = {}
        self.captures: dict[int, list[Operation] | None] = {}
        self.events: dict[int, Operation | None] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.executables: dict[int, list[Operation]] = {}
        self.calls: dict[str, int] = defaultdict(int)
        self.last_error = 0
        self.owner = 0
        """Device that all device memory lies on."""
        self._numbers = itertools.count(100)
        self._failures: dict[str, list[int]] = defaultdict(list)
        self.lock = threading.RLock()

    # ---- for tests

    def fail(self, function: str, code: str, *, after: int = 0) -> None:
        """Let one later call of `function` fail, after `after` calls that work."""
        self._failures[function] += [0] * after + [CODES[code]]

    def alive(self) -> dict[str, int]:
        """What has not been freed."""
        kinds = {
            "device_memory": self.device_memory,
            "pinned": self.pinned,
            "streams": {handle: 0 for handle in self.streams if handle != 1},
            "events": self.events,
            "graphs": self.graphs,
            "executables": self.executables,
        }
        return {name: len(kind) for name, kind in kinds.items() if kind}

    def enqueue(self, stream: int, operation: Operation) -> None:
        """Put work on a stream, or into the graph it is recording."""
        recording = self.captures.get(int(stream))
        (self.streams[int(stream)] if recording is None else recording).append(operation)

    def is_capturing(self, stream: int) -> bool:
        return self.captures.get(int(stream)) is not None

    def invalidate_capture(self, stream: int) -> None:
        self.captures[int(stream)] = [_invalid]

    def bytes_at(self, address: int, size: int) -> memoryview:
        """`size` bytes of device memory; an AssertionError if they do not lie inside one allocation."""
        for start, content in self.device_memory.items():
            if start <= address and address + size <= start + len(content):
                return memoryview(content)[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are no device memory that is allocated")

    def device_array(self, array: np.ndarray, *, offset: int = 0, stream: int | None = None, version: int = 3):
        """`array` in new device memory, as CuPy (version 3) or PyTorch (version 2) would hand it over."""
        _, address = self.cudaMalloc(array.nbytes + offset)
        self.bytes_at(address + offset, array.nbytes)[:] = array.tobytes()
        interface = dict(
            shape=array.shape, typestr=array.dtype.str, data=(address + offset, False), strides=None, version=version
        )
        if version >= 3:
            interface["stream"] = stream
        return SimpleNamespace(__cuda_array_interface__=interface, base=address)

    # ---- the runtime

    def _status(self, function: str) -> int:
        self.calls[function] += 1
        queue = self._failures[function]
        code = queue.pop(0) if queue else 0
        self.last_error = code or self.last_error
        return code

    def cudaGetErrorName(self, status):
        return 0, next((name for name, code in CODES.items() if code == int(status)), "cudaErrorUnknown").encode()

    def cudaGetErrorString(self, status):
        return 0, f"words for {int(status)}".encode()

    def cudaGetLastError(self):
        code, self.last_error = self.last_error, 0
        return (code,)

    def cudaGetDeviceCount(self):
        return self._status("cudaGetDeviceCount"), self.devices

    def cudaGetDevice(self):
        return self._status("cudaGetDevice"), self._device()

    def cudaPointerGetAttributes(self, address):
        inside = any(self._inside(start, address) for start in self.device_memory)
        return self._status("cudaPointerGetAttributes"), SimpleNamespace(type=2 if inside else 0, device=self.owner)

    def cudaSetDevice(self, device):
        self._current.context = PRIMARY + device
        return (self._status("cudaSetDevice"),)

    def cudaGetDeviceProperties(self, device):
        return 0, SimpleNamespace(name=b"Fake GPU")

    def cudaDeviceGetAttribute(self, attribute, device):
        return 0, {"major": 8, "minor": 9, "multiprocessors": 76}[attribute]

    def cudaMalloc(self, size):
        status = self._status("cudaMalloc")
        if status == 0 and sum(map(len, self.device_memory.values())) + size > self.memory:
            self.last_error = status = CODES["cudaErrorMemoryAllocation"]
        if status:
            return status, None
        room = np.full(size + 255, 0xEE, np.uint8)  # real memory: emulated kernels do run on it
        begin = -room.ctypes.data % 256
        address = room.ctypes.data + begin
        self.device_memory[address] = room[begin : begin + size]
        self.memory_context[address] = self._context() or PRIMARY
        return 0, address

    def cudaFree(self, address):
        del self.device_memory[address]
        return (self._status("cudaFree"),)

    def cudaHostAlloc(self, size, flags):
        status = self._status("cudaHostAlloc")
        if status:
            return status, None
        buffer = (ctypes.c_ubyte * size)()
        self.pinned[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def cudaFreeHost(self, address):
        del self.pinned[address]
        return (self._status("cudaFreeHost"),)

    def cudaStreamCreateWithFlags(self, flags):
        assert flags == self.cudaStreamNonBlocking
        handle = next(self._numbers)
        self.streams[handle], self.stream_device[handle] = [], self._device()
        return self._status("cudaStreamCreateWithFlags"), Handle(handle)

    def cudaStreamDestroy(self, stream):
        del self.streams[int(stream)]
        return (self._status("cudaStreamDestroy"),)

    def cudaStreamSynchronize(self, stream):
        if self.is_capturing(stream):
            self.invalidate_capture(stream)
            return (CODES["cudaErrorStreamCaptureUnsupported"],)
        if self.stream_device.get(int(stream), self._device()) != self._device():
            return (CODES["cudaErrorInvalidResourceHandle"],)
        self.drain(int(stream))
        return (self._status("cudaStreamSynchronize"),)

    def drain(self, stream: int) -> None:
        """Do what a stream was given, in order."""
        while self.streams[stream]:
            self.streams[stream].pop(0)()

    def cudaEventCreateWithFlags(self, flags):
        handle = next(self._numbers)
        self.events[handle] = None
        return self._status("cudaEventCreateWithFlags"), Handle(handle)

    def cudaEventSynchronize(self, event):
        self.events[int(event)]()
        return (self._status("cudaEventSynchronize"),)

    def cudaEventElapsedTime(self, start, stop):
        assert self.events[int(start)] and self.events[int(stop)]
        return self._status("cudaEventElapsedTime"), 0.25

    def cudaEventDestroy(self, event):
        del self.events[int(event)]
        return (self._status("cudaEventDestroy"),)

    def cudaEventRecord(self, event, stream):
        if int(stream) not in self.streams:
            return (CODES["cudaErrorInvalidResourceHandle"],)
        self.events[int(event)] = lambda: self.drain(int(stream))
        return (self._status("cudaEventRecord"),)

    def cudaStreamWaitEvent(self, stream, event, flags):
        reached = self.events[int(event)]
        assert reached is not None, "waiting for an event that was never recorded"
        self.enqueue(int(stream), reached)
        return (self._status("cudaStreamWaitEvent"),)

    def cudaMemcpyAsync(self, destination, source, size, kind, stream):
        status = self._status("cudaMemcpyAsync")
        if status == 0:
            self.enqueue(int(stream), lambda: self._copy(destination, source, size, kind))
        return (status,)

    def cudaMemcpy(self, destination, source, size, kind):
        assert kind == self.cudaMemcpyKind.cudaMemcpyDeviceToHost
        ctypes.memmove(destination, bytes(self.bytes_at(source, size)), size)
        return (self._status("cudaMemcpy"),)

    def _copy(self, destination: int, source: int, size: int, kind: int) -> None:
        kinds = self.cudaMemcpyKind
        read = self._pinned_at if kind == kinds.cudaMemcpyHostToDevice else self.bytes_at
        write = self._pinned_at if kind == kinds.cudaMemcpyDeviceToHost else self.bytes_at
        write(destination, size)[:] = bytes(read(source, size))

    def _pinned_at(self, address: int, size: int) -> memoryview:
        for start, buffer in self.pinned.items():
            if start <= address and address + size <= start + len(buffer):
                return memoryview(buffer).cast("B")[address - start : address - start + size]
        raise AssertionError(f"{size} bytes at {address:#x} are no pinned memory that is allocated")

    def cudaStreamBeginCapture(self, stream, mode):
        status = self._status("cudaStreamBeginCapture")
        if status == 0:
            assert not self.is_capturing(stream)
            self.captures[int(stream)] = []
        return (status,)

    def cudaStreamEndCapture(self, stream):
        recorded = self.captures.pop(int(stream))
        status = self._status("cudaStreamEndCapture")
        if recorded and _invalid in recorded:
            self.last_error = status = CODES["cudaErrorStreamCaptureInvalidated"]
        if status:
            return status, None
        graph = next(self._numbers)
        self.graphs[graph] = recorded or []
        return 0, Handle(graph)

    def cudaGraphInstantiate(self, graph, flags):
        status = self._status("cudaGraphInstantiate")
        if status:
            return status, None
        executable = next(self._numbers)
        self.executables[executable] = list(self.graphs[int(graph)])
        return 0, Handle(executable)

    def cudaGraphDestroy(self, graph):
        del self.graphs[int(graph)]
        return (self._status("cudaGraphDestroy"),)

    def cudaGraphLaunch(self, executable, stream):
        status = self._status("cudaGraphLaunch")
        if status == 0:
            for operation in self.executables[int(executable)]:
                self.enqueue(int(stream), operation)
        return (status,)

    def cudaGraphExecDestroy(self, executable):
        del self.executables[int(executable)]
        return (self._status("cudaGraphExecDestroy"),)


def _invalid() -> None:
    raise AssertionError("an invalid capture was launched")
