"""ONNX Runtime on a GPU: its input is memory of the device that stays, in place of a copy that it makes at every run.

A binding has one input for each shape that came lately, and runs one batch at a time. Canvases of the host are copied
there, from page-locked memory without a detour; images are placed there by the project's kernel.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.cuda_memory import PinnedBuffer, Stream
from cornernet.engine.backends.cuda_placing import Placer, check_addresses, placing_launchers
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.device_arrays import UINT8, DeviceImage
from cornernet.engine.backends.float_canvases import as_declared
from cornernet.engine.backends.placing import Packed
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import INPUT, OUTPUTS

log = logging.getLogger("cornernet.onnxruntime")

AT_ONCE = 2
"""Batches on the device at once: one computes while the other's data move."""

Shape = tuple[int, ...]
NewInput = Callable[[str, int, np.dtype[Any], Shape], Any]
"""Kind and number of a device, type, shape -> an OrtValue there."""

MOST_INPUTS = 4
"""Shapes whose memory a binding keeps; the one used longest ago gives way."""


class DeviceRuns:
    """Runs of one session in memory of its device, as many at once as there are bindings. Thread-safe.

    session: an InferenceSession. device: kind and number as ONNX Runtime names them: ("cuda", 0). new_input: makes an
    OrtValue. outputs: names of what it gives, in the order of `named_outputs`. dtype: of its input; uint8 canvases suit
    any. With cuda-python there is page-locked memory, and with the library of plugins/ images are placed too.
    """

    def __init__(
        self,
        session: Any,
        device: tuple[str, int],
        new_input: NewInput,
        outputs: Sequence[str] = OUTPUTS,
        dtype: np.dtype[Any] = UINT8,
    ) -> None:
        self._cuda = _cuda(device[1])
        self._launchers = None if self._cuda is None else placing_launchers(self._cuda, None)
        self._pinned: list[PinnedBuffer] = []
        self._lock = threading.Lock()
        self._closed = False
        self._idle: queue.LifoQueue[Binding] = queue.LifoQueue()
        for _ in range(AT_ONCE):
            self._idle.put(Binding(session, partial(new_input, *device, dtype), self._placer(dtype), outputs, dtype))

    def _placer(self, dtype: np.dtype[Any]) -> tuple[Cuda, Stream, Placer] | None:
        if self._cuda is None or self._launchers is None:
            return None
        with self._cuda.current():
            stream = Stream(self._cuda)
            return self._cuda, stream, Placer(self._cuda, stream, self._launchers, self._pinned, dtype)

    @property
    def places_views(self) -> bool:
        """Whether `run` takes what is still to be placed."""
        return self._launchers is not None

    def check_image(self, image: DeviceImage) -> None:
        """Raises ImageError if the image does not lie on the device, whole."""
        assert self._cuda is not None
        check_addresses(self._cuda, *image.ends)

    def allocate(self, size: int) -> np.ndarray:
        """(size,) uint8, page-locked where that can be had, until `close`. Raises CudaError if there is no room."""
        if self._cuda is None:
            return np.empty(size, np.uint8)
        with self._lock, self._cuda.current():
            self._pinned.append(PinnedBuffer(self._cuda, size))
            return self._pinned[-1].array((size,), np.dtype(np.uint8))

    def run(self, canvases: np.ndarray | Packed, options: Any = None) -> Outputs:
        """(N, H, W, 3), or what makes them. Raises BackendError, and whatever ONNX Runtime raises."""
        binding = self._idle.get()
        try:
            if self._closed:
                raise BackendError("this model was closed; open it again")
            return binding.run(canvases, options)
        finally:
            self._idle.put(binding)

    def close(self) -> None:
        """Wait for what runs, free everything. Once."""
        self._closed = True
        for binding in [self._idle.get() for _ in range(AT_ONCE)]:
            binding.free()
            self._idle.put(binding)  # for whoever waits for one, to be told
        if self._cuda is not None:
            with self._lock, self._cuda.current():
                while self._pinned:
                    self._pinned.pop().free()


def _cuda(device: int) -> Cuda | None:
    try:
        return Cuda(device=device)
    except BackendError as error:
        log.info("no page-locked memory, and images are placed on the host: %s", error)
        return None


class Binding:
    """One run at a time: used by whoever holds it. placer: what places images, its stream and its CUDA, if any."""

    def __init__(
        self,
        session: Any,
        new_input: Callable[[Shape], Any],
        placer: tuple[Cuda, Stream, Placer] | None,
        outputs: Sequence[str] = OUTPUTS,
        dtype: np.dtype[Any] = UINT8,
    ) -> None:
        self._outputs, self._dtype = outputs, dtype
        self._session, self._new_input, self._placer = session, new_input, placer
        self._binding = session.io_binding()
        self._inputs: OrderedDict[Shape, Any] = OrderedDict()

    def run(self, canvases: np.ndarray | Packed, options: Any = None) -> Outputs:
        """(N, H, W, 3) on the host, or what makes them. Raises whatever ONNX Runtime raises, and BackendError."""
        if isinstance(canvases, np.ndarray):
            canvases = as_declared(canvases, floats=self._dtype == np.float32)
            if canvases.dtype != self._dtype:  # the binding copies bytes of any type
                raise TypeError(f"type {canvases.dtype}; expected {self._dtype}")
        value = self._input(tuple(canvases.shape))
        if isinstance(canvases, Packed):
            self._place(canvases, value)
        else:  # complete when it returns
            value.update_inplace(np.ascontiguousarray(canvases))
        self._binding.bind_ortvalue_input(INPUT, value)
        for name in self._outputs:  # anew: a binding holds on to what the last run allocated, whatever its shape
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding, options)
        return named_outputs([np.array(output) for output in self._binding.copy_outputs_to_cpu()])

    def _input(self, shape: Shape) -> Any:
        value = self._inputs.pop(shape, None)
        if value is None:
            if len(self._inputs) >= MOST_INPUTS:
                self._inputs.popitem(last=False)
            value = self._new_input(shape)
        self._inputs[shape] = value
        return value

    def _place(self, packed: Packed, value: Any) -> None:
        assert self._placer is not None, "no backend without it says that it places views"
        cuda, stream, placer = self._placer
        with cuda.current():
            placer.place(packed, value.data_ptr())
            stream.synchronize()

    def free(self) -> None:
        self._inputs.clear()
        if self._placer is not None:
            (cuda, stream, placer), self._placer = self._placer, None
            with cuda.current():
                placer.free()
                stream.free()
