"""TensorRT engines behind the Backend interface: `tensorrt` 10.12 to 11.x and `tensorrt_rtx`.

One engine (the weights) is shared; each worker has its own stream, buffers and contexts (trt_worker.py), so that calls
from several threads overlap. Why an engine does not load is worked out from its card (engine_card.py).
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.cuda_finishing import INPUTS, TYPES
from cornernet.engine.backends.cuda_memory import PinnedBuffer
from cornernet.engine.backends.cuda_placing import check_addresses, placing_launchers
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.device_arrays import DeviceImage, describe
from cornernet.engine.backends.device_results import Blocks
from cornernet.engine.backends.engine_card import read_engine_card
from cornernet.engine.backends.finishing import Final, Finishing
from cornernet.engine.backends.placing import Packed
from cornernet.engine.backends.rtx_kernels import KernelCache, default_file
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_loading import (
    IN_THE_ENGINE,
    check_code_is_wanted,
    choose_profile,
    deserialize,
    flavour_of,
    load_plugins,
)
from cornernet.engine.backends.trt_worker import Canvases, GpuTimes, Worker, part_of
from cornernet.engine.errors import BackendError, ImageError, ModelError

log = logging.getLogger("cornernet.tensorrt")

_OPEN: weakref.WeakSet[TensorRTBackend] = weakref.WeakSet()
"""Closed when the interpreter ends: afterwards TensorRT's destructors would call a logger in Python that is gone."""


@atexit.register
def _close_all() -> None:
    for backend in tuple(_OPEN):
        backend.close()


class TensorRTBackend:
    """A built engine, ready to run: opened, checked, warmed up.

    Args:
        path: `<name>.engine`, with `<name>.engine.json` beside it (`cornernet build` writes both).
        plugins: our compiled operators, if the engine needs them; None: the installed library, see
            `trt_api.find_plugin_library`; "engine": those that the engine carries, whose code then runs here.
        workers: batches that may run at the same time. The first worker is made now, more when calls overlap; if the
            GPU's memory does not allow another, calls wait for one instead.
        cuda_graphs: replay a recorded graph per shape (TensorRT-RTX records its own in any case).
        device: index of the CUDA device.
        kernel_cache: file for the kernels that TensorRT-RTX compiles here; None: see `rtx_kernels`.
        api, cuda: the TensorRT flavour and CUDA runtime to use; None: what the card names, what is installed.

    Raises ModelError: no such file, no card, truncated, other tensors. BackendError: TensorRT, driver, plugin library
    or memory missing, or an engine of another TensorRT or GPU; the message carries the command that mends it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        plugins: str | Path | None = None,
        workers: int = 2,
        cuda_graphs: bool = True,
        device: int = 0,
        kernel_cache: Path | None = None,
        api: TensorRT | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        self.path = Path(path)
        self.facts = read_engine_card(self.path)
        self.card, self.takes_float = self.facts.card, self.facts.float_canvases
        if self.card.outputs != "detections":
            raise ModelError(f"{path} gives {self.card.outputs}, not detections; run it with trtexec or Polygraphy.")
        check_code_is_wanted(self.facts, self.path, plugins)
        self._api = api or flavour_of(self.facts, self.path)
        self._cuda = cuda or Cuda(device=device)
        self.name = f"{self._api.flavour} {self._api.version}"
        self._graphs = cuda_graphs
        self._workers = max(1, workers)
        self._idle: list[Worker] = []
        self._made = 0
        self._closed = False
        self._changed = threading.Condition()
        self._lent: list[PinnedBuffer] = []
        self._blocks = Blocks(self._cuda)
        self._kernels = KernelCache(kernel_cache or default_file(self.facts))
        library = load_plugins(self._api, self._cuda, self.facts, self.path, plugins)
        self._launchers = placing_launchers(self._cuda, library)
        with self._cuda.current():
            self._runtime, self._plan = deserialize(
                self._api, self._cuda, self.facts, self.path, library, run_its_code=plugins == IN_THE_ENGINE
            )
            self._release(self._acquire())
            self._kernels.save()
        _OPEN.add(self)

    @property
    def in_flight(self) -> int:
        """How many batches `run` should be given at once, each from a thread of its own, to keep the GPU busy."""
        return max(2, self._workers)

    def allocate(self, size: int) -> np.ndarray:
        """`size` bytes of page-locked memory, (size,) uint8: canvases that lie in it are uploaded without another copy.
        Freed by `close`; do not touch it afterwards. Raises CudaError if there is no room for it."""
        with self._changed, self._cuda.current():
            if self._closed:
                raise BackendError(f"{self.path} has been closed.")
            buffer = PinnedBuffer(self._cuda, size)
            self._lent.append(buffer)
            return buffer.array((size,), np.dtype(np.uint8))

    def run(self, canvases: np.ndarray) -> Outputs:
        """canvases (N, H, W, 3) uint8 on the host, any N >= 1. Batches above the profiles' size are split, smaller
        ones filled up. Raises ImageError for a wrong array or a size no profile holds; BackendError if it fails."""
        types = (np.uint8, self._plan.canvas)
        if canvases.dtype not in types or canvases.ndim != 4 or canvases.shape[3] != 3 or 0 in canvases.shape:
            raise ImageError(
                f"canvases have shape {canvases.shape} and type {canvases.dtype}; expected (N, H, W, 3) {types[1]}."
            )
        return self._run(canvases)

    def run_device(self, array: Any) -> Outputs:
        """The same for an array on the GPU with `__cuda_array_interface__` (PyCUDA, CuPy, Numba, PyTorch), which is
        read where it lies. Work of the stream it names, or of the default stream if it names none, is waited for."""
        canvases = describe(array, self._plan.canvas)
        check_addresses(self._cuda, canvases.address)
        return self._run(canvases)

    @property
    def places_views(self) -> bool:
        """Whether the kernel that places images is there."""
        return self._launchers is not None

    def run_views(self, packed: Packed) -> Outputs:
        """`run` for canvases that are placed on the GPU. Raises as `run`."""
        return self._run(packed)

    @property
    def finishes(self) -> bool:
        """Whether batches may come back final: of a network that looks once, in the types that the kernel reads."""
        types = tuple(self._plan.dtypes[name] for name in INPUTS)
        return self._launchers is not None and self.card.saccade is None and types == TYPES

    def run_final(self, canvases: np.ndarray | Packed, placements: np.ndarray, finishing: Finishing) -> list[Final]:
        """`run` and soft-NMS, see finishing.py. Results that stay have `__cuda_array_interface__`. Raises as `run`."""
        parts = self._in_parts(
            canvases, lambda worker, *batch, rows: worker.run_final(*batch, rows=placements[rows], finishing=finishing)
        )
        return [each for found in parts for each in found]

    def check_image(self, image: DeviceImage) -> None:
        """Raises ImageError if the image does not lie on the engine's device, whole, where it can be read."""
        check_addresses(self._cuda, *image.ends)

    def time_on_gpu(self, canvases: np.ndarray, runs: int = 50) -> GpuTimes:
        """Milliseconds that batches of these canvases take on the device, waiting and Python left out."""
        with self._borrowed() as worker:
            index, batch = self._whole(canvases)
            return worker.time_runs(index, (batch, *canvases.shape[1:3]), canvases, runs)

    def time_layers(self, canvases: np.ndarray, runs: int = 10) -> dict[str, float]:
        """Median milliseconds of each layer of the engine for these canvases, in the order they run."""
        with self._borrowed() as worker:
            index, batch = self._whole(canvases)
            return worker.profile_layers(index, (batch, *canvases.shape[1:3]), canvases, runs)

    def _whole(self, canvases: np.ndarray) -> tuple[int, int]:
        """Profile and batch for all canvases at once. Raises ImageError if they are too many."""
        images, height, width = canvases.shape[:3]
        index, batch = choose_profile(self._plan.profiles, (images, height, width), self.path)
        if batch < images:
            raise ImageError(f"{images} canvases do not fit into one batch: {self.path.name} takes up to {batch}.")
        return index, batch

    @contextmanager
    def _borrowed(self) -> Iterator[Worker]:
        """A worker for the calling thread. One that fails is not used again: its stream may be in any state."""
        with self._cuda.current():
            worker = self._acquire()
            try:
                yield worker
            except ImageError:
                self._release(worker)
                raise
            except BaseException:
                self._retire(worker)
                raise
            self._release(worker)

    def _run(self, canvases: Canvases) -> Outputs:
        parts = self._in_parts(canvases, lambda worker, *batch, rows: worker.run(*batch))
        return parts[0] if len(parts) == 1 else named_outputs([np.concatenate(values) for values in zip(*parts)])

    def _in_parts(self, canvases: Canvases, run: Callable[..., Any]) -> list[Any]:
        """`run(worker, profile, shape, part of the canvases, rows=which)` for batches that the profiles hold."""
        images, height, width = (int(size) for size in canvases.shape[:3])
        parts = []
        with self._borrowed() as worker:
            done = 0
            while done < images:
                index, batch = choose_profile(self._plan.profiles, (images - done, height, width), self.path)
                taken = min(images - done, batch)
                part, rows = part_of(canvases, done, taken), slice(done, done + taken)
                parts.append(run(worker, index, (batch, height, width), part, rows=rows))
                done += taken
        return parts

    def _acquire(self) -> Worker:
        """An idle worker, or a new one; waits if all are busy and no more may be made."""
        with self._changed:
            while True:
                if self._closed:
                    raise BackendError(f"{self.path} has been closed.")
                if self._idle:
                    return self._idle.pop()
                if self._made < self._workers:
                    self._made += 1
                    break
                self._changed.wait()
        worker = None
        try:
            worker = Worker(
                self._api,
                self._cuda,
                self._plan,
                graphs=self._graphs,
                kernels=self._kernels,
                blocks=self._blocks,
                lent=self._lent,
                launchers=self._launchers,
            )
            worker.warm_up()
            return worker
        except BaseException as error:
            if worker is not None:
                worker.free()
            with self._changed:
                self._made -= 1
                others = self._made
                self._workers = max(1, others)
                self._changed.notify_all()
            if not others or not isinstance(error, BackendError):
                raise
            log.warning("%s: no memory or context for a further worker, going on with %d: %s", self.name, others, error)
        return self._acquire()

    def _release(self, worker: Worker) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(worker)
                self._changed.notify_all()
                return
        self._retire(worker)

    def _retire(self, worker: Worker) -> None:
        """Free a worker: the backend is closed, or the worker failed and its stream may be in any state."""
        with self._cuda.current():
            worker.free()
        with self._changed:
            self._made -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for calls that are running, then free everything on the device. May be called twice."""
        _OPEN.discard(self)
        if self._cuda.is_forked:  # nothing here is the child's to free
            return
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            self._retire(worker)
        with self._changed:
            self._changed.wait_for(lambda: self._made == 0)
            with self._cuda.current():
                while self._lent:
                    self._lent.pop().free()
                self._blocks.close()
                self._kernels.save()
            self._kernels.free()
            # The order matters to TensorRT: contexts (gone with the workers), engine, runtime.
            self._plan = self._plan._replace(engine=None)
            self._runtime = None
