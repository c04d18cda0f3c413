"""The part of a fake CUDA that the driver answers for: contexts, whose memory is whose, versions. See fake_cuda.py."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np


class Handle:
    """A stream, event or graph: an object that turns into an int, as in cuda-python."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value


PRIMARY, OTHER = 0x1000, 0x2000
"""Contexts: the device's own, and one that a program made; plus the number of the device."""


class FakeDriver:
    """Contexts are numbers. A thread has none until it asks for one."""

    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_CONTEXT=1)

    def __init__(self) -> None:
        self.driver_version, self.runtime_version = 13000, 13000
        self.device_memory: dict[int, np.ndarray] = {}
        self.memory_context: dict[int, int] = {}
        self._current = threading.local()

    def _context(self) -> int:
        """Of the calling thread: PRIMARY + device, or one somebody made; 0 before anybody asked for one."""
        return getattr(self._current, "context", 0)

    def _device(self) -> int:
        return self._context() % 0x100

    def make_context(self, device: int = 0) -> int:
        """What PyCUDA's make_context does: a context beside the primary one, current in this thread."""
        self._current.context = OTHER + device
        return self._current.context

    def cuCtxGetCurrent(self):
        return 0, Handle(self._context())

    def cuCtxSetCurrent(self, context):
        self._current.context = int(context)
        return (0,)

    def cuPointerGetAttribute(self, attribute, address):
        assert attribute == self.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        owners = [owner for start, owner in self.memory_context.items() if self._inside(start, address)]
        return (0, Handle(owners[0])) if owners else (1, None)

    def _inside(self, start: int, address: int) -> bool:
        return start in self.device_memory and start <= address < start + len(self.device_memory[start])

    def cudaDriverGetVersion(self):
        return 0, self.driver_version

    def cudaRuntimeGetVersion(self):
        return 0, self.runtime_version
