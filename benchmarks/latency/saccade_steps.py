"""One image of a CornerNet-Saccade, stage by stage: first look, crops, second look, merge. A process of its own a step.

`python -m cornernet.benchmarks.latency.saccade_steps STEP STEM CROPS RUNS JPEG...` prints a line of JSON; `time_looks`
runs that. STEP and STEM are those of ladder_steps.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.latency.ladder_steps import STEPS, in_process
from cornernet.engine.backends import Backend, Outputs, SaccadeDetections
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.running.stages import Batch, Loaded, Stages

STAGES = ("read", "first look", "crops", "second look", "merge")
"""read: file to pixels. first look: views placed and run. crops: chosen and placed. second look: crops run. merge: the
boxes of all canvases, soft-NMS."""

BATCH = 32
"""Canvases at once: as the published test does it, all crops of an image."""

WARM_UPS = 1


class WatchedBackend:
    """A backend that is told which look it runs, and whose attention is planted.

    crops: that attention asks for, the same for every network, where random weights would ask for none. What is
    replaced was computed, so that it costs what it costs.
    """

    def __init__(self, backend: Backend, crops: int) -> None:
        self.card, self.name, self.close = backend.card, backend.name, backend.close
        self.closer = False
        self._backend = backend
        self._attention = _scattered(backend, crops)

    def run(self, canvases: np.ndarray) -> Outputs:
        crops: Callable[[np.ndarray], Outputs] = getattr(self._backend, "run_crops", self._backend.run)
        raw = crops(canvases) if self.closer else self._backend.run(canvases)
        return SaccadeDetections(*raw[:5], *(np.repeat(part[None], len(canvases), axis=0) for part in self._attention))


def _scattered(backend: Backend, crops: int) -> tuple[np.ndarray, np.ndarray]:
    """Attention of every level, (3, P) each: strong in cells far enough from each other, on a grid."""
    saccade, (side, _) = backend.card.saccade, backend.card.usual_canvas
    assert saccade is not None
    scores = np.full((3, saccade.locations), -1, np.float32)
    cells = np.zeros((3, saccade.locations), np.int32)
    for level, stride in enumerate(saccade.attention_strides):
        columns = -(-side // stride)
        step = 2  # cells of the coarsest map, whichever the level
        places = np.arange(columns // 4, columns - columns // 4, step * max(1, columns // 16))
        grid = (places[:, None] * columns + places).ravel()[: min(crops, saccade.locations)]
        scores[level, : len(grid)] = np.linspace(0.9, 0.5, len(grid), dtype=np.float32)
        cells[level, : len(grid)] = grid
    return scores, cells


def measure_looks(step: str, stem: Path, crops: int, runs: int, files: Sequence[Path]) -> dict[str, Any]:
    """In this process. stages_ms: per stage one number a run; made: crops of each run."""
    backend = WatchedBackend(STEPS[step](stem), crops)
    stages = Detector(backend, max_crops=crops, score_threshold=0).stages
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    made = []
    for turn in range(WARM_UPS + runs):
        marks, count = _look_twice(stages, backend, files[turn % len(files)])
        if turn >= WARM_UPS:
            made.append(count)
            for stage, seconds in zip(STAGES, np.diff(marks).tolist()):
                times[stage].append(seconds * 1000)
    backend.close()
    return {"stages_ms": times, "made": made}


def _look_twice(stages: Stages, backend: WatchedBackend, file: Path) -> tuple[list[float], int]:
    """Times [s] before and after each of STAGES, and the number of crops."""
    marks, backend.closer = [time.perf_counter()], False

    def mark() -> None:
        marks.append(time.perf_counter())

    loaded = stages.load((0, file))
    mark()
    for batch, canvases in _placed(stages, loaded):
        stages.run(batch, [loaded], canvases)
    mark()
    crops = _placed(stages, loaded)
    mark()
    backend.closer = True
    for batch, canvases in crops:
        stages.run(batch, [loaded], canvases)
    mark()
    found = stages.finish(loaded)
    mark()
    if found.error is not None:
        raise BackendError(found.error)
    return marks, sum(len(batch) for batch, _ in crops)


def _placed(stages: Stages, loaded: Loaded) -> list[tuple[Batch, Any]]:
    placed = []
    for batch in stages.views([loaded], BATCH):
        memory = np.empty(stages.bytes_to_place(batch, [loaded]), np.uint8)
        placed.append((batch, stages.place(batch, [loaded], memory)))
    return placed


def time_looks(
    step: str, stem: Path, crops: int, runs: int, files: Sequence[Path], *, limit_s: float = 3600
) -> dict[str, Any]:
    """`measure_looks` in a fresh process. Raises BackendError with the last line of the child's complaint."""
    module = "cornernet.benchmarks.latency.saccade_steps"
    return in_process(module, step, stem, [crops, runs, *files], limit_s=limit_s)


if __name__ == "__main__":
    step, stem, crops, runs, *files = sys.argv[1:]
    pictures = [Path(file) for file in files]
    print(json.dumps(measure_looks(step, Path(stem), int(crops), int(runs), pictures)))
