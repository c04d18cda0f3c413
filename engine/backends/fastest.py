"""`runtime="auto"`: the runtime that is fastest for this file on this machine, measured once and remembered.

All runtimes have the file open and take turns, so that whatever else the machine does slows all of them. The shortest
time counts: it is the one that the least disturbed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cornernet.engine.backends import Backend
from cornernet.engine.backends.contract import Tensor, fitting_shape
from cornernet.engine.cache_folder import cache_folder
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.machine import cpu_facts, installed_versions
from cornernet.engine.whole_file import write_text_whole

log = logging.getLogger("cornernet.fastest")

ROUNDS = range(3, 16)
SECONDS = 2.0
"""Rounds after the one that warms up: at least the first of ROUNDS, then more for SECONDS."""

MARGIN = 0.95
"""A runtime is taken before an earlier one only if it needs less than this share of its time."""


class Candidate(NamedTuple):
    """A runtime in a precision."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


class OnnxBackend(Backend, Protocol):
    """A backend of a .onnx file. images: the input that it declares. reason: why this one runs."""

    images: Tensor
    reason: str


class Measurement(BaseModel):
    """milliseconds: by candidate, of one canvas (N, H, W, 3); N is 1, or what the file fixes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    canvases: tuple[int, ...]
    milliseconds: dict[str, float] = Field(min_length=1)

    def fastest(self, candidates: list[Candidate]) -> Candidate:
        """The first, unless a later one is faster by more than MARGIN says."""
        best = candidates[0]
        for other in candidates[1:]:
            if self.milliseconds[str(other)] < MARGIN * self.milliseconds[str(best)]:
                best = other
        return best

    def __str__(self) -> str:
        count, height, width, _ = self.canvases
        times = ", ".join(f"{name} {value:.1f} ms" for name, value in self.milliseconds.items())
        return f"{times} for {count}x{height}x{width}"


def open_fastest(
    path: Path,
    candidates: list[Candidate],
    open_one: Callable[[Candidate], OnnxBackend],
    *,
    threads: int | None = None,
    again: bool = False,
) -> tuple[OnnxBackend, Measurement | None]:
    """The fastest of `candidates` (in order of preference), opened; its `reason` says why.

    threads: what `open_one` gives each of them. again: measure though it is known. No measurement: there was no choice.

    Raises ModelError or BackendError of the first candidate if none can open the file.
    """
    record = cache_folder("runtimes") / f"{_key(path, threads)}.json"
    known = None if again or len(candidates) == 1 else _recall(record, candidates)
    if known is not None:
        return _chosen(open_one(known.fastest(candidates)), f"fastest when last measured: {known}"), known
    opened = _open_all(candidates, open_one)
    first, *others = opened
    providers = getattr(opened[first], "active_providers", ["CPUExecutionProvider"])
    if not others or providers[0] != "CPUExecutionProvider":
        why = "no other runtime here opens this file" if not others else f"it runs on {providers[0]}"
        return _take(opened, first, why), None
    measurement = _measure(opened)
    _remember(record, measurement)
    return _take(opened, measurement.fastest(list(opened)), f"fastest of those measured: {measurement}"), measurement


def _take(opened: Mapping[Candidate, OnnxBackend], chosen: Candidate, reason: str) -> OnnxBackend:
    for candidate, backend in opened.items():
        if candidate != chosen:
            backend.close()
    return _chosen(opened[chosen], reason)


def _chosen(backend: OnnxBackend, reason: str) -> OnnxBackend:
    backend.reason = reason
    log.info("%s: %s", backend.name, reason)
    return backend


def _open_all(
    candidates: list[Candidate], open_one: Callable[[Candidate], OnnxBackend]
) -> dict[Candidate, OnnxBackend]:
    opened: dict[Candidate, OnnxBackend] = {}
    errors: list[ModelError | BackendError] = []
    for candidate in candidates:
        try:
            opened[candidate] = open_one(candidate)
        except (ModelError, BackendError) as error:
            log.info("%s is left out: %s", candidate, error)
            errors.append(error)
    if not opened:
        raise errors[0]
    return opened


def _measure(opened: Mapping[Candidate, OnnxBackend]) -> Measurement:
    """Noise on the canvas of training, every backend in turn."""
    any_one = next(iter(opened.values()))
    shape = fitting_shape(any_one.images, *any_one.card.usual_canvas)
    canvases = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    best = dict.fromkeys(opened, float("inf"))
    for backend in opened.values():
        backend.run(canvases)
    start = time.perf_counter()
    for turn in range(ROUNDS.stop):
        if turn >= ROUNDS.start and time.perf_counter() - start > SECONDS:
            break
        for candidate, backend in opened.items():
            before = time.perf_counter()
            backend.run(canvases)
            best[candidate] = min(best[candidate], time.perf_counter() - before)
    return Measurement(canvases=shape, milliseconds={str(one): round(1000 * value, 3) for one, value in best.items()})


def _key(path: Path, threads: int | None) -> str:
    """Of all that the outcome hangs on: the file's content, the libraries, the CPU, the threads."""
    cpu = {name: value for name, value in cpu_facts().items() if name not in ("load_1min", "memory_gib")}
    packages = installed_versions(("cornernet", "onnxruntime", "onnxruntime-gpu", "openvino"))
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {"content": content, "cpu": cpu, "packages": packages, "threads": threads}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _recall(record: Path, candidates: list[Candidate]) -> Measurement | None:
    """What was measured, if it was and all of `candidates` were in it."""
    try:
        known = Measurement.model_validate_json(record.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
    return known if known.milliseconds.keys() >= set(map(str, candidates)) else None


def _remember(record: Path, measurement: Measurement) -> None:
    try:
        write_text_whole(record, measurement.model_dump_json(indent=1) + "\n")
    except OSError as error:
        log.info("the measurement is not kept: %s", error)
