"""One worker of a TensorRT engine: a stream, fixed buffers, and contexts (trt_contexts.py) with their CUDA graphs.

Order on the stream, for every batch:  upload -> network -> download of the outputs -> (host waits)

A shape that comes again, in a context of its own, is run plainly once more: TensorRT does its set-up for shape and
addresses then, which no graph may hold. Then all three steps are recorded, and from the next batch on a launch of the
graph is everything. There is a graph for each place the input comes from: our staging memory, page-locked memory lent
to the caller, which is uploaded without a copy in between, or an address on the device. What cannot be recorded runs
plainly for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.contract import CONTRACT
from cornernet.engine.backends.cuda_finishing import INPUTS, Finisher
from cornernet.engine.backends.cuda_memory import DeviceBuffer, PinnedBuffer, Stream, Timer
from cornernet.engine.backends.cuda_placing import Placer
from cornernet.engine.backends.cuda_runtime import Cuda, CudaError
from cornernet.engine.backends.device_arrays import DeviceArray
from cornernet.engine.backends.device_results import Blocks
from cornernet.engine.backends.engine_card import Shape
from cornernet.engine.backends.finishing import Final, Finishing
from cornernet.engine.backends.nvtx_ranges import marked
from cornernet.engine.backends.placing import Packed
from cornernet.engine.backends.rtx_kernels import KernelCache
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_contexts import MAX_GRAPHS, Contexts, GraphKey, Slot
from cornernet.engine.backends.trt_plan import Plan
from cornernet.engine.backends.trt_profiling import layer_times
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import INPUT
from cornernet.plugins.launchers import Launchers

log = logging.getLogger("cornernet.tensorrt")

ALIGNMENT = 256
"""TensorRT's demand on tensor addresses [bytes]."""


Canvases = np.ndarray | DeviceArray | Packed
"""(N, H, W, 3) on the host, on the device, or still to be placed there."""


class Source(NamedTuple):
    """Where a batch comes from. key: see GraphKey. comes_again: the addresses are ours, so recording is worth it."""

    key: GraphKey
    comes_again: bool


class GpuTimes(NamedTuple):
    """Milliseconds on the device, one value per run. batch: from upload to download; compute: the network alone."""

    batch: list[float]
    compute: list[float]


class Worker:
    """Runs one batch at a time. Not thread-safe: a worker is used by whoever holds it.

    lent: page-locked memory that callers may hand in. launchers: with them it places images itself, and makes boxes
    final in `blocks`. Raises CudaError if the device has not enough memory; what was taken by then is given back.
    """

    def __init__(
        self,
        api: TensorRT,
        cuda: Cuda,
        plan: Plan,
        *,
        graphs: bool,
        kernels: KernelCache,
        blocks: Blocks,
        lent: Sequence[PinnedBuffer] = (),
        launchers: Launchers | None = None,
    ) -> None:
        self._api, self._cuda, self._plan, self._lent = api, cuda, plan, lent
        self._owned: list[Any] = []
        try:
            self._stream = self._own(Stream(cuda))
            self._placer = self._finisher = None
            if launchers is not None:
                self._placer = self._own(Placer(cuda, self._stream, launchers, lent, plan.canvas))
                self._finisher = self._own(Finisher(cuda, self._stream, launchers, blocks))
            self.contexts = self._own(Contexts(api, cuda, plan, self._stream, own=graphs, kernels=kernels))
            size = max(int(np.prod(profile.max)) * 3 for profile in plan.profiles) * plan.canvas.itemsize
            self._input = self._own(DeviceBuffer(cuda, size))
            self._staging = self._own(PinnedBuffer(cuda, size))
            sizes = self.contexts.output_sizes()
            self._outputs = {name: self._own(DeviceBuffer(cuda, sizes[name])) for name in sizes}
            self._results = {name: self._own(PinnedBuffer(cuda, sizes[name])) for name in sizes}
            self.contexts.bind_outputs({name: buffer.address for name, buffer in self._outputs.items()})
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
                self.run(index, profile.opt, np.zeros((*profile.opt, 3), self._plan.canvas))

    def run(self, profile: int, shape: Shape, canvases: Canvases) -> Outputs:
        """Run `canvases` (n, H, W, 3) as a batch of at least `shape` (N, H, W), N >= n; results of the first n images.

        Device arrays are read in place, unless the batch must be filled up or TensorRT's alignment is not met: then
        they are copied, on the device.
        """
        with marked("place"):
            slot, source = self._prepare(profile, shape, canvases)
        with marked("launch"):
            self._launch(slot, source)
        with marked("wait"):
            self._stream.synchronize()
        with marked("results"):
            return named_outputs([self._result(slot, name, canvases.shape[0]) for name in slot.outputs])

    def run_final(
        self, profile: int, shape: Shape, canvases: Canvases, *, rows: np.ndarray, finishing: Finishing
    ) -> list[Final]:
        """The same, with soft-NMS of the first n images behind it; rows: their placements (n, 9) float32."""
        assert self._finisher is not None, "no backend without it says that it finishes"
        slot, source = self._prepare(profile, shape, canvases)
        with marked("launch"):
            self._launch(slot, source)
            outputs = [self._outputs[name].address for name in INPUTS]
            results = self._finisher.enqueue(outputs, slot.outputs["scores"][1], rows, finishing)
        with marked("wait"):
            self._stream.synchronize()
        return results()

    def time_runs(self, profile: int, shape: Shape, canvases: np.ndarray, runs: int) -> GpuTimes:
        """`runs` batches as `run` does them, timed on the device; then the network alone, plainly, without copies."""
        times = GpuTimes([], [])
        timer = Timer(self._cuda, self._stream)

        def timed(enqueue: Callable[[], None]) -> float:
            timer.start()
            enqueue()
            timer.stop()
            return timer.milliseconds()

        try:
            for _ in range(3):
                self.run(profile, shape, canvases)
            slot, source = self._prepare(profile, shape, canvases)
            for _ in range(runs):
                times.batch.append(timed(lambda: self._launch(slot, source)))
            for _ in range(runs):
                times.compute.append(timed(lambda: self._execute(slot)))
        finally:
            timer.free()
        return times

    def profile_layers(self, profile: int, shape: Shape, canvases: np.ndarray, runs: int) -> dict[str, float]:
        """Median milliseconds of every layer, in order, as TensorRT's profiler reports them. Slower than a real run:
        layers are timed one by one."""
        self.run(profile, shape, canvases)  # the pixels are in the input from now on
        with self.contexts.apart(profile, shape) as slot:
            slot.bind(INPUT, self._input.address)

            def execute() -> None:
                self._execute(slot)
                self._stream.synchronize()

            return layer_times(self._api.module, slot.context, execute, runs)

    def _prepare(self, profile: int, shape: Shape, canvases: Canvases) -> tuple[Slot, Source]:
        slot = self.contexts.place(profile, shape)
        assert slot.shape is not None
        if isinstance(canvases, Packed):
            assert self._placer is not None, "no backend without it says that it places views"
            self._placer.place(canvases, self._input.address)
            return slot, Source((self._input.address, 0, 0), True)
        source = self._upload_from(canvases, slot.shape) if isinstance(canvases, np.ndarray) else None
        return slot, source or self._take(canvases, slot.shape)  # type: ignore[arg-type]

    def _upload_from(self, canvases: np.ndarray, shape: Shape) -> Source:
        """Lent memory as it is; anything else through staging, where uint8 becomes what the engine takes. Rows that the
        batch lacks hold any pixels: they are cut off with their results."""
        if canvases.flags.c_contiguous and canvases.dtype == self._plan.canvas:
            address = canvases.ctypes.data
            if any(buffer.holds(address, canvases.nbytes) for buffer in self._lent):
                return Source((self._input.address, address, canvases.nbytes), True)
        images = canvases.shape[0]
        staging = self._staging.array((*shape, 3), self._plan.canvas)
        staging[:images] = canvases
        staging[images:] = 0
        return Source((self._input.address, self._staging.address, staging.nbytes), True)

    def _take(self, canvases: DeviceArray, shape: Shape) -> Source:
        """A device array, once its producer is done with it."""
        if canvases.producer is not None:
            self._stream.wait_for(canvases.producer)
        if canvases.shape[0] == shape[0] and canvases.address % ALIGNMENT == 0:
            return Source((canvases.address, 0, 0), False)
        self._stream.move(self._input.address, canvases.address, int(np.prod(canvases.shape)) * canvases.itemsize)
        return Source((self._input.address, 0, 0), True)

    def _launch(self, slot: Slot, source: Source) -> None:
        """Put one batch on the stream: as a graph if there is one, else step by step."""
        key = source.key
        graph = slot.graphs.get(key)
        if graph is not None:
            slot.graphs.move_to_end(key)
            graph.launch()
            return
        address, host, size = key

        def enqueue() -> None:
            if host:
                self._stream.upload(address, host, size)
            self._execute(slot)
            for name, shape in slot.outputs.items():
                size_out = int(np.prod(shape)) * self._plan.dtypes[name].itemsize
                self._stream.download(self._results[name].address, self._outputs[name].address, size_out)

        slot.bind(INPUT, address)
        enqueue()
        if slot.keeps_shape and key not in slot.not_recordable:
            worth_it = source.comes_again or key in slot.graphs
            self._remember(slot, key)
            if worth_it:
                self._record(slot, key, enqueue)

    def _record(self, slot: Slot, key: GraphKey, enqueue: Callable[[], None]) -> None:
        """Record what was just run, for the next time. Shape and addresses are unchanged: no set-up is left to do."""
        self._stream.synchronize()
        try:
            slot.graphs[key] = self._stream.capture(enqueue)
        except BackendError as error:
            if isinstance(error, CudaError) and error.sticky:
                raise
            slot.graphs.pop(key)
            slot.not_recordable.add(key)
            log.warning("no CUDA graph for %s, running without: %s", slot.shape, error)

    def _remember(self, slot: Slot, key: GraphKey) -> None:
        slot.graphs.setdefault(key, None)
        slot.graphs.move_to_end(key)
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

    def free(self) -> None:
        """Give everything back, newest first. After a fatal device error the calls fail; that is logged, not raised."""
        if self._owned:
            _quietly(self._stream.synchronize)  # after a failure work may still be on its way
            _quietly(self.contexts.free)  # before the memory that their graphs name
        while self._owned:
            _quietly(self._owned.pop().free)
        self._plan = self._plan._replace(engine=None)  # the engine must not outlive its runtime


def part_of(canvases: Canvases, start: int, count: int) -> Canvases:
    return canvases[start : start + count] if isinstance(canvases, np.ndarray) else canvases.part(start, count)


def _quietly(give_back: Callable[[], None]) -> None:
    try:
        give_back()
    except CudaError as error:
        log.debug("while freeing: %s", error)
