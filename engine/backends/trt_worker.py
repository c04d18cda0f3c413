"""One worker of a TensorRT engine: a stream, fixed buffers, and a context with a CUDA graph for every shape it meets.

Order on the stream, for every batch:  upload -> network -> download of the five outputs -> (host waits)

First use of a shape runs the network plainly: TensorRT does its shape-dependent set-up then, which no graph may hold.
The second use records all three steps as one CUDA graph; from then on a batch is one launch. What cannot be recorded
runs plainly for good. A context belongs to one shape, because a recorded graph relies on state that a change of shape
would overwrite; the contexts of a worker share one block of scratch memory, since they never run at the same time.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from cornernet.engine.backends import RawDetections
from cornernet.engine.backends.contract import CONTRACT
from cornernet.engine.backends.cuda_memory import Cuda, CudaError, DeviceBuffer, Graph, PinnedBuffer, Stream
from cornernet.engine.backends.device_arrays import DeviceArray
from cornernet.engine.backends.engine_card import Shape
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_plan import Plan
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import INPUT, OUTPUTS

log = logging.getLogger("cornernet.tensorrt")

MAX_SHAPES = 8
"""Contexts a worker keeps; the one used longest ago goes first."""

MAX_GRAPHS = 8
"""Graphs a context keeps: one for host input, and one per device address that is used again (a ring of frames)."""

ALIGNMENT = 256
"""TensorRT's demand on tensor addresses [bytes]."""


_CREATING = threading.Lock()
"""Contexts are made one at a time: TensorRT promises thread safety between contexts, not for making them."""


class Slot:
    """A context set to one shape, and its graphs by (input address, uploaded from the host)."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.shape: Shape | None = None
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.graphs: OrderedDict[tuple[int, bool], Graph | None] = OrderedDict()
        self.capturable = True

    def free(self) -> None:
        for graph in self.graphs.values():
            if graph is not None:
                graph.free()
        self.graphs.clear()
        self.context = None


class Worker:
    """Runs one batch at a time. Not thread-safe: a worker is used by whoever holds it.

    Raises CudaError if the device has not enough memory; what was taken by then is given back.
    """

    def __init__(self, api: TensorRT, cuda: Cuda, plan: Plan, *, graphs: bool) -> None:
        self._api, self._cuda, self._plan = api, cuda, plan
        self._record = graphs and not api.has_own_graphs
        self._slots: OrderedDict[tuple[int, Shape | None], Slot] = OrderedDict()
        self._owned: list[Any] = []
        try:
            self._stream = self._own(Stream(cuda))
            engine = plan.engine
            self._scratch = self._own(DeviceBuffer(cuda, 0 if api.has_own_graphs else engine.device_memory_size_v2))
            size = max(int(np.prod(profile.max)) * 3 for profile in plan.profiles)
            self._input = self._own(DeviceBuffer(cuda, size))
            self._staging = self._own(PinnedBuffer(cuda, size))
            sizes = self._output_sizes()
            self._outputs = {name: self._own(DeviceBuffer(cuda, sizes[name])) for name in OUTPUTS}
            self._results = {name: self._own(PinnedBuffer(cuda, sizes[name])) for name in OUTPUTS}
        except BaseException:
            self.free()
            raise

    def _own(self, resource: Any) -> Any:
        self._owned.append(resource)
        return resource

    def warm_up(self) -> None:
        """Run every profile's best shape twice: kernels load on the first run, the graph is recorded on the second."""
        for index, profile in enumerate(self._plan.profiles):
            for _ in range(2):
                self.run(index, profile.opt, np.zeros((*profile.opt, 3), np.uint8))

    def run(self, profile: int, shape: Shape, canvases: np.ndarray | DeviceArray) -> RawDetections:
        """Run `canvases` (n, H, W, 3) as a batch of `shape` (N, H, W), N >= n; the results of the first n images.

        Device arrays are read in place, unless the batch must be filled up or TensorRT's alignment is not met: then
        they are copied, on the device.
        """
        slot = self._slot(profile, shape)
        images = canvases.shape[0]
        upload = isinstance(canvases, np.ndarray)
        if isinstance(canvases, np.ndarray):
            staging = self._staging.array((*shape, 3), np.dtype(np.uint8))
            staging[:images] = canvases
            staging[images:] = 0
            address = self._input.address
        else:
            address = self._take(canvases, shape)
        self._launch(slot, address, int(np.prod(shape)) * 3 if upload else 0)
        self._stream.synchronize()
        return RawDetections(*(self._result(slot, name, images) for name in OUTPUTS))

    def _take(self, canvases: DeviceArray, shape: Shape) -> int:
        """Address to read a device array from, once its producer is done with it."""
        if canvases.producer is not None:
            self._stream.wait_for(canvases.producer)
        if canvases.shape[0] == shape[0] and canvases.address % ALIGNMENT == 0:
            return canvases.address
        # What is left in the rows below is cut off with its results; any byte is a pixel, so nothing can go wrong.
        self._stream.move(self._input.address, canvases.address, int(np.prod(canvases.shape)))
        return self._input.address

    def _launch(self, slot: Slot, address: int, uploaded: int) -> None:
        """Put one batch on the stream. uploaded: bytes to bring from the host first; 0: the input is on the device."""

        def enqueue() -> None:
            if uploaded:
                self._stream.upload(address, self._staging.address, uploaded)
            self._execute(slot)
            for name, shape in slot.outputs.items():
                size = int(np.prod(shape)) * self._plan.dtypes[name].itemsize
                self._stream.download(self._results[name].address, self._outputs[name].address, size)

        key = (address, bool(uploaded))
        graph = slot.graphs.get(key)
        if graph is not None:
            slot.graphs.move_to_end(key)
            graph.launch()
            return
        self._bind(slot.context, INPUT, address)
        if key in slot.graphs and self._record and slot.capturable:
            graph = self._recorded(slot, enqueue)
            if graph is not None:
                slot.graphs[key] = graph
                graph.launch()
                return
        enqueue()
        self._remember(slot, key)

    def _recorded(self, slot: Slot, enqueue: Callable[[], None]) -> Graph | None:
        try:
            return self._stream.capture(enqueue)
        except BackendError as error:
            if isinstance(error, CudaError) and error.sticky:
                raise
            slot.capturable = False
            log.warning("no CUDA graph for %s, running without: %s", slot.shape, error)
            return None

    def _remember(self, slot: Slot, key: tuple[int, bool]) -> None:
        slot.graphs.setdefault(key, None)
        while len(slot.graphs) > MAX_GRAPHS:
            _, oldest = slot.graphs.popitem(last=False)
            if oldest is not None:
                self._stream.synchronize()
                oldest.free()

    def _execute(self, slot: Slot) -> None:
        context = slot.context
        with self._api.logger.collect() as errors:
            if not context.execute_async_v3(self._stream.handle):
                raise BackendError(
                    f"TensorRT could not run a batch of {slot.shape}: {'; '.join(errors) or 'no reason'}"
                )

    def _result(self, slot: Slot, name: str, images: int) -> np.ndarray:
        """A copy: the pinned memory is overwritten by the next batch."""
        view = self._results[name].array(slot.outputs[name], self._plan.dtypes[name])
        return view[:images].astype(CONTRACT[name].dtype, copy=True)

    def _slot(self, profile: int, shape: Shape) -> Slot:
        """The context for `shape`; a runtime that records graphs itself has one per profile for all shapes."""
        key = (profile, None if self._api.has_own_graphs else shape)
        slot = self._slots.get(key)
        if slot is None:
            while len(self._slots) >= MAX_SHAPES:
                self._slots.popitem(last=False)[1].free()
            slot = self._slots[key] = Slot(self._context(profile))
            for name in OUTPUTS:
                self._bind(slot.context, name, self._outputs[name].address)
        self._slots.move_to_end(key)
        if slot.shape != shape:
            slot.outputs = self._set_shape(slot.context, shape)
            slot.shape = shape
        return slot

    def _context(self, profile: int) -> Any:
        trt, engine = self._api.module, self._plan.engine
        with self._api.logger.collect() as errors, _CREATING:
            if self._api.has_own_graphs:
                context = _context_rtx(trt, engine)
            else:
                context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
                if context is not None and self._scratch.size:
                    context.set_device_memory(self._scratch.address, self._scratch.size)
            if context is None or not context.set_optimization_profile_async(profile, self._stream.handle):
                raise BackendError(
                    f"TensorRT gave no context for profile {profile}: {'; '.join(errors) or 'no reason'}"
                )
        self._stream.synchronize()
        return context

    def _bind(self, context: Any, name: str, address: int) -> None:
        if not context.set_tensor_address(name, address):
            raise BackendError(f"TensorRT refuses the address {address:#x} for the tensor {name}.")

    def _set_shape(self, context: Any, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for an input of `shape`."""
        if not context.set_input_shape(INPUT, (*shape, 3)):
            raise BackendError(f"TensorRT refuses an input of {shape}, though it lies within the profile.")
        outputs = {name: tuple(context.get_tensor_shape(name)) for name in OUTPUTS}
        unknown = [name for name, sizes in outputs.items() if any(size < 0 for size in sizes)]
        if unknown:
            raise ModelError(
                f"the sizes of {', '.join(unknown)} depend on the pixels, so no buffer can be prepared for them. "
                "Build from a file of `cornernet export`."
            )
        return outputs

    def _output_sizes(self) -> dict[str, int]:
        """Bytes of each output at the largest batch of any profile."""
        sizes = dict.fromkeys(OUTPUTS, 0)
        for index, profile in enumerate(self._plan.profiles):
            for name, shape in self._set_shape(self._context(index), profile.max).items():
                sizes[name] = max(sizes[name], int(np.prod(shape)) * self._plan.dtypes[name].itemsize)
        return sizes

    def free(self) -> None:
        """Give everything back, newest first. After a fatal device error the calls fail; that is logged, not raised."""
        if self._owned:
            _quietly(self._stream.synchronize)  # after a failure work may still be on its way
        for slot in self._slots.values():
            _quietly(slot.free)
        self._slots.clear()
        while self._owned:
            _quietly(self._owned.pop().free)
        self._plan = self._plan._replace(engine=None)  # the engine must not outlive its runtime


def _context_rtx(trt: Any, engine: Any) -> Any:
    runtime_config = engine.create_runtime_config()
    runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(runtime_config)


def _quietly(give_back: Callable[[], None]) -> None:
    try:
        give_back()
    except CudaError as error:
        log.debug("while freeing: %s", error)
