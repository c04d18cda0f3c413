"""TensorRT engines behind the Backend interface: `tensorrt` 10.12 to 11.x and `tensorrt_rtx`.

One engine (the weights) is shared; each worker has its own stream, buffers and contexts (trt_worker.py), so that calls
from several threads overlap. Why an engine does not load is worked out from its card (engine_card.py).
"""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends import RawDetections, trt_api
from cornernet.engine.backends.cuda_memory import Cuda
from cornernet.engine.backends.device_arrays import DeviceArray, describe
from cornernet.engine.backends.engine_card import (
    EngineCard,
    FileFacts,
    Profile,
    Shape,
    read_engine_card,
    why_it_does_not_load,
)
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_plan import Plan, read_plan
from cornernet.engine.backends.trt_worker import Worker
from cornernet.engine.errors import BackendError, ImageError, ModelError

log = logging.getLogger("cornernet.tensorrt")


class TensorRTBackend:
    """A built engine, ready to run: opened, checked, warmed up.

    Args:
        path: `<name>.engine`, with `<name>.engine.json` beside it (`cornernet build` writes both).
        plugins: our compiled operators, if the engine needs them; None: the installed library, see
            `trt_api.find_plugin_library`.
        workers: batches that may run at the same time. The first worker is made now, more when calls overlap; if the
            GPU's memory does not allow another, calls wait for one instead.
        cuda_graphs: replay a recorded graph per shape (TensorRT-RTX records its own in any case).
        device: index of the CUDA device.
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
        api: TensorRT | None = None,
        cuda: Cuda | None = None,
    ) -> None:
        self.path = Path(path)
        self.facts = read_engine_card(self.path)
        self.card = self.facts.card
        if self.card.outputs != "detections":
            raise ModelError(f"{path} gives {self.card.outputs}, not detections; run it with trtexec or Polygraphy.")
        self._api = api or _flavour_of(self.facts, self.path)
        self._cuda = cuda or Cuda(device=device)
        self.name = f"{self._api.flavour} {self._api.version}"
        self._graphs = cuda_graphs
        self._workers = max(1, workers)
        self._idle: list[Worker] = []
        self._made = 0
        self._closed = False
        self._changed = threading.Condition()
        library = _load_plugins(self._api, self.facts, self.path, plugins)
        with self._cuda.current():
            self._runtime, self._plan = self._deserialize(library)
            self._release(self._acquire())

    def _deserialize(self, library: Path | None) -> tuple[Any, Plan]:
        trt = self._api.module
        with self._api.logger.collect() as errors:
            runtime = trt.Runtime(self._api.logger)
            content = self.path.read_bytes()
            engine = runtime.deserialize_cuda_engine(content)
            if engine is None:
                verdict = _verdict_rtx(trt, runtime, content) if self._api.is_rtx else []
                raise BackendError(
                    why_it_does_not_load(
                        self.path,
                        self.facts,
                        flavour=self._api.flavour,
                        version=self._api.version,
                        gpu=self._cuda.gpu_facts(),
                        library=library,
                        said=[*verdict, *errors],
                    )
                )
        return runtime, read_plan(self._api, engine)

    def run(self, canvases: np.ndarray) -> RawDetections:
        """canvases (N, H, W, 3) uint8 on the host, any N >= 1. Batches above the profiles' size are split, smaller
        ones filled up. Raises ImageError for a wrong array or a size no profile holds; BackendError if it fails."""
        if canvases.dtype != np.uint8 or canvases.ndim != 4 or canvases.shape[3] != 3 or 0 in canvases.shape:
            raise ImageError(
                f"canvases have shape {canvases.shape} and type {canvases.dtype}; expected (N, H, W, 3) uint8."
            )
        return self._run(canvases)

    def run_device(self, array: Any) -> RawDetections:
        """The same for an array on the GPU with `__cuda_array_interface__` (PyCUDA, CuPy, Numba, PyTorch), which is
        read where it lies. Work of the stream it names, or of the default stream if it names none, is waited for."""
        canvases = describe(array)
        device = self._cuda.device_of(canvases.address)
        if device != self._cuda.device:
            where = "host memory" if device is None else f"the memory of device {device}"
            raise ImageError(f"the array lies in {where}; expected device {self._cuda.device}, where the engine runs.")
        return self._run(canvases)

    def _run(self, canvases: np.ndarray | DeviceArray) -> RawDetections:
        with self._cuda.current():
            return self._run_here(canvases)

    def _run_here(self, canvases: np.ndarray | DeviceArray) -> RawDetections:
        images, height, width = (int(size) for size in canvases.shape[:3])
        parts = []
        worker = self._acquire()
        try:
            done = 0
            while done < images:
                index, batch = choose_profile(self._plan.profiles, (images - done, height, width), self.path)
                taken = min(images - done, batch)
                parts.append(worker.run(index, (batch, height, width), _part(canvases, done, taken)))
                done += taken
        except ImageError:
            self._release(worker)
            raise
        except BaseException:
            self._retire(worker)
            raise
        self._release(worker)
        return parts[0] if len(parts) == 1 else RawDetections(*map(np.concatenate, zip(*parts)))

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
            worker = Worker(self._api, self._cuda, self._plan, graphs=self._graphs)
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
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            self._retire(worker)
        with self._changed:
            self._changed.wait_for(lambda: self._made == 0)
            # The order matters to TensorRT: contexts (gone with the workers), engine, runtime.
            self._plan = self._plan._replace(engine=None)
            self._runtime = None


def choose_profile(profiles: tuple[Profile, ...], shape: Shape, path: Path) -> tuple[int, int]:
    """Profile and batch size to run next, when `shape` = (images left, H, W).

    The one that takes most images, then fills up least, then is tuned for the nearest shape. Raises ImageError if no
    profile holds H x W.
    """
    images, height, width = shape
    best: tuple[tuple[float, ...], int, int] | None = None
    for index, profile in enumerate(profiles):
        batch = min(max(images, profile.min[0]), profile.max[0])
        if not profile.holds((batch, height, width)):
            continue
        area = math.prod((batch, height, width)) / math.prod(profile.opt)
        rank = (-min(batch, images), batch, abs(math.log(area)))
        if best is None or rank < best[0]:
            best = (rank, index, batch)
    if best is None:
        raise ImageError(
            f"canvas of {height} x {width} px fits no profile of {path.name} ({'; '.join(map(str, profiles))}). "
            f"Build with another one: cornernet build MODEL.onnx -o {path.name} --profile 1x{height}x{width},"
            f"4x{height}x{width},8x{height}x{width}"
        )
    return best[1], best[2]


def _part(canvases: np.ndarray | DeviceArray, start: int, images: int) -> np.ndarray | DeviceArray:
    if isinstance(canvases, np.ndarray):
        return canvases[start : start + images]
    _, height, width, channels = canvases.shape
    address = canvases.address + start * height * width * channels
    return DeviceArray(address, (images, height, width, channels), canvases.producer)


def _verdict_rtx(trt: Any, runtime: Any, content: bytes) -> list[str]:
    """TensorRT-RTX names why a plan cannot run here: VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, ..."""
    _, bits = runtime.get_engine_validity(content)
    return [name for name, bit in trt.EngineInvalidityDiagnostics.__members__.items() if int(bits) & int(bit)]


def _flavour_of(facts: EngineCard, path: Path) -> TensorRT:
    try:
        return trt_api.load(facts.flavour)
    except BackendError as error:
        raise BackendError(f"{path} was built by {facts.flavour} {facts.version}: {error}") from error


def _load_plugins(api: TensorRT, facts: EngineCard, path: Path, plugins: str | Path | None) -> Path | None:
    """Register the operators that the engine needs; the library used. Raises BackendError if there is none."""
    if facts.plugins is None:
        return None
    library = Path(plugins) if plugins else trt_api.find_plugin_library()
    needs = f"{path} needs the operators {', '.join(sorted(facts.operators))} of {facts.plugins.name}"
    if library is None:
        raise BackendError(f"{needs}, which was not found. {trt_api.HOW_TO_GET_PLUGINS}")
    missing = sorted(set(facts.operators) - set(api.load_plugins(library)))
    if missing:
        raise BackendError(f"{needs}, but {library} lacks {', '.join(missing)}. {trt_api.HOW_TO_GET_PLUGINS}")
    if FileFacts.of(library).sha256 != facts.plugins.sha256:
        log.warning("%s was built with another build of %s; if boxes look wrong, build it again", path, library)
    return library
