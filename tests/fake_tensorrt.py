"""A TensorRT runtime without a GPU: a plan is JSON, a network is fixed arithmetic on each image.

It refuses what the real one refuses or quietly computes wrongly: shapes outside the profile, missing or unaligned
addresses, missing scratch memory, recording a graph before the shape was run once, replaying a graph after its context
was given another shape, one context in two threads. It never stands in for a GPU result.
"""

from __future__ import annotations

import enum
import json
import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import FakeCuda

from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.model_card import ATTENTION_OUTPUTS, INPUT, OUTPUTS

ROWS = 5
TAILS: dict[str, tuple[int, ...]] = {
    "boxes": (ROWS, 4),
    "scores": (ROWS,),
    "corner_scores": (ROWS, 2),
    "labels": (ROWS,),
    "counts": (),
    "attention_scores": (3, ROWS),
    "attention_cells": (3, ROWS),
}
"""Lengths behind that of the batch."""


def expected(canvases: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the fake network gives for (N, H, W, 3) images; each row of a result depends on its own image only. The last
    two are the attention of a Saccade, which other plans leave out."""
    images = canvases.astype(np.float64)
    mean = images.mean(axis=(1, 2, 3))
    rows = np.arange(ROWS)
    first, last = canvases[:, 0, 0, 0].astype(float), canvases[:, -1, -1, 2].astype(float)
    boxes = np.stack([np.broadcast_to(v[:, None], (len(images), ROWS)) for v in (mean, first, last, mean)], axis=2)
    boxes = boxes + rows[None, :, None]
    scores = mean[:, None] / (rows + 1)
    corner_scores = np.stack([scores, scores + 1], axis=2)
    labels = canvases[:, 0, 0, 1, None].astype(int) + rows
    counts = canvases.max(axis=(1, 2, 3))
    attention = np.repeat(scores[:, None] / 255, 3, axis=1)
    cells = np.repeat(labels[:, None], 3, axis=1)
    results = boxes, scores, corner_scores, labels, counts, attention, cells
    return tuple(a.astype(t) for a, t in zip(results, TYPES.values()))


_INTEGERS = ("labels", "counts", "attention_cells")
TYPES = {name: np.int32 if name in _INTEGERS else np.float32 for name in OUTPUTS + ATTENTION_OUTPUTS}


def plan(
    profiles: list[list[list[int]]], *, scratch: int = 4096, outputs: tuple[str, ...] = OUTPUTS, **more: Any
) -> bytes:
    """A serialised engine. profiles: min, opt, max of N, H, W each."""
    return json.dumps({"profiles": profiles, "scratch": scratch, "outputs": outputs, **more}).encode()


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity


class Strategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class Diagnostics(enum.IntEnum):
    VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER = 1, 2, 4


class Mode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class Context:
    def __init__(self, engine: Engine, strategy: Strategy) -> None:
        self.engine, self.strategy = engine, strategy
        self.profile, self.shape, self.version = 0, None, 0
        self.ready_version = -1
        self.addresses: dict[str, int] = {}
        self.scratch = 0
        self.needed = engine.facts["scratch"]  # until it is asked what its shapes need
        self.profiler: Any = None
        self.kernels: Any = None
        self.config_alive: weakref.ref[RuntimeConfig] | None = None
        self.busy = threading.Lock()
        engine.contexts += 1
        if strategy is Strategy.STATIC:
            self.scratch = engine.facts["scratch"]

    def set_device_memory(self, address: int, size: int) -> None:
        assert self.strategy is Strategy.USER_MANAGED and address % 256 == 0
        self.engine.cuda.bytes_at(address, size)
        self.scratch = size

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        assert stream in self.engine.cuda.streams
        if index >= len(self.engine.facts["profiles"]) or self.engine.facts.get("refuses_profiles"):
            raise RuntimeError("the fake binding raises where others return False")
        self.profile = index
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        assert self.shape is not None
        share = np.prod(self.shape[:3]) / np.prod(self.engine.facts["profiles"][self.profile][2])
        self.needed = int(np.ceil(self.engine.facts["scratch"] * share))
        return self.needed

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.facts["profiles"][self.profile]
        self.needed = self.engine.facts["scratch"]
        if name != INPUT or not all(a <= n <= b for a, n, b in zip(low, shape, high)) or shape[3] != 3:
            return False
        self.shape = tuple(shape)
        self.version += 1
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        rows = -1 if self.engine.facts.get("data_dependent") else ROWS
        return (self.shape[0], *(rows if length == ROWS else length for length in TAILS[name]))

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0, f"{name} at {address:#x} is not aligned to 256 bytes"
        self.addresses[name] = address
        if name == INPUT:
            self.ready_version = -1  # even the same address again: the next batch makes every plugin look at its shapes
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self.busy.acquire(blocking=False), "one context, two threads"
        try:
            time.sleep(0.0005)
            return self._enqueue(stream)
        finally:
            self.busy.release()

    def _enqueue(self, stream: int) -> bool:
        cuda, engine = self.engine.cuda, self.engine
        engine.executions += 1
        if engine.facts.get("broken"):
            engine.logger.log(Severity.ERROR, "the fake network is broken")
            return False
        assert set(self.addresses) == set(engine.names) and self.scratch >= self.needed
        if self.profiler is not None:
            for layer in ("conv", "CornerPeaks"):
                self.profiler.report_layer_time(layer, 0.5)
        if cuda.is_capturing(stream) and (engine.facts.get("uncapturable") or self.ready_version != self.version):
            cuda.invalidate_capture(stream)
            return False
        self.ready_version = self.version
        if self.config_alive is not None:
            assert self.config_alive() is not None, "the binding does not keep the configuration of a context alive"
            engine.compiled += self.shape not in self.kernels.kernels
            self.kernels.kernels.add(self.shape)
        shape, version, addresses = self.shape, self.version, dict(self.addresses)

        def work() -> None:
            assert version == self.version, "the context was given another shape after this was recorded"
            dtype = np.dtype(engine.get_tensor_dtype(INPUT))
            content = bytes(cuda.bytes_at(addresses[INPUT], int(np.prod(shape)) * dtype.itemsize))
            results = expected(np.frombuffer(content, dtype).reshape(shape))
            for name, result in zip(engine.names[1:], results):
                cuda.bytes_at(addresses[name], result.nbytes)[:] = result.tobytes()

        cuda.enqueue(stream, work)
        return True


class Engine:
    def __init__(self, facts: dict[str, Any], cuda: FakeCuda, logger: Any) -> None:
        self.facts, self.cuda, self.logger = facts, cuda, logger
        self.executions = self.contexts = self.compiled = 0
        self.names = [INPUT, *facts["outputs"]]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(facts["profiles"])
        self.device_memory_size_v2 = facts["scratch"]

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name == INPUT else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        canvas = np.float32 if self.facts.get("float_input") else np.uint8
        return self.facts.get("types", {}).get(name, canvas if name == INPUT else TYPES.get(name))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.facts.get("shapes", {}).get(name, (-1, *TAILS[name])))

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(*shape, 3) for shape in self.facts["profiles"][index]]

    def create_execution_context(self, how: Any) -> Context | None:
        limit = self.facts.get("contexts", 1000)
        if self.contexts >= limit:
            self.logger.log(Severity.ERROR, "out of contexts")
            return None
        context = Context(self, how if isinstance(how, Strategy) else Strategy.STATIC)
        if isinstance(how, RuntimeConfig):
            context.kernels = how.cache
            context.config_alive = weakref.ref(how)
        return context

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.facts)


class RuntimeCache:
    """Kernels that TensorRT-RTX compiled, by shape."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.kernels: set[tuple[int, ...]] = set()

    def deserialize(self, content: bytes) -> bool:
        try:
            version, kernels = json.loads(content)
        except ValueError:
            return False
        if version != self.version:
            return False
        self.kernels |= {tuple(shape) for shape in kernels}
        return True

    def serialize(self) -> bytes:
        return json.dumps([self.version, sorted(self.kernels)]).encode()


class RuntimeConfig:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.cuda_graph_strategy, self.cache = None, RuntimeCache("private")
        self.version = facts.get("cache_version", "1")

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self.version)

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


def fake_tensorrt(cuda: FakeCuda, *, rtx: bool = False, version: str = "10.16.1.11") -> TensorRT:
    """The adapter around a fake module. `api.module.engines` lists the engines it gave out."""
    engines: list[Engine] = []

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            try:
                facts = json.loads(content)
                if facts.get("carries_code") and not self.engine_host_code_allowed:
                    self.logger.log(Severity.ERROR, "host code of the plan is not allowed")
                    return None
            except ValueError:
                self.logger.log(Severity.ERROR, "Serialization assertion failed: version tag does not match")
                return None
            engines.append(Engine(facts, cuda, self.logger))
            return engines[-1]

        def get_engine_validity(self, content: bytes) -> tuple[int, int]:
            assert rtx
            return 2, Diagnostics.VERSION_MISMATCH | Diagnostics.UNSUPPORTED_CC

    registry = SimpleNamespace(all_creators=[], load_library=lambda path: None)
    module = SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Runtime=Runtime,
        ExecutionContextAllocationStrategy=Strategy,
        TensorIOMode=Mode,
        DataType=SimpleNamespace(UINT8=np.uint8, FLOAT=np.float32),
        nptype=np.dtype,
        get_plugin_registry=lambda: registry,
        engines=engines,
        IProfiler=type("IProfiler", (), {}),
    )
    if rtx:
        module.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)
        module.EngineInvalidityDiagnostics = Diagnostics
    return TensorRT(module, "tensorrt_rtx" if rtx else "tensorrt")  # type: ignore[arg-type]
