"""Time per stage, taken from outside: the same functions that `Detector` composes, one after the other, with a clock
between them. Several models take turns batch by batch, so that a noisy machine disturbs them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from cornernet.engine.backends import Backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ImageError
from cornernet.engine.geometry import Size
from cornernet.engine.results.detections import Detections

STAGES = ("read", "place", "run", "post")
"""read: file to pixels. place: scale, pad. run: the model, with copies to and from a GPU. post: boxes, soft-NMS."""

Result = TypeVar("Result")

WARM_UP_BATCHES = 2
SETTLE_S = 0.02
"""Pause before a model's turn. Stages were timed right after another runtime's run, end to end right after the model's
own: `run` alone came out above end to end. Threads that still spin for their next work would explain it; whatever the
cause is, a pause and an uncounted batch put both times under the same conditions."""
PERCENTILES = (50, 90, 99)


class BatchTime(NamedTuple):
    """Seconds one batch took: by stage, and through `Detector.predict`, on the same images."""

    stages: dict[str, float]
    end_to_end: float


@dataclass
class Subject:
    """A model under test, and what was measured: times[batch size] has one entry per repetition."""

    name: str
    backend: Backend
    size: Size
    times: dict[int, list[BatchTime]] = field(default_factory=dict)
    warm_up: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.detector = Detector(self.backend, resize="fit", size=self.size, score_threshold=0)


def time_stages(backend: Backend, size: Size, files: Sequence[Path]) -> dict[str, float]:
    """Seconds of each stage for one batch, the images scaled to one canvas (height, width) [px]. Of a network that
    looks twice, place and run are those of both looks. Raises ImageError if an image failed."""
    stages = Detector(backend, resize="fit", size=size, score_threshold=0).stages
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        seconds[stage] += time.perf_counter() - start
        return result

    images = timed("read", lambda: [stages.load(numbered) for numbered in enumerate(files)])
    for _ in range(stages.looks):
        for batch in timed("place", lambda: stages.views(images, len(files))):
            canvases = np.empty((len(batch), *batch[0].placement.canvas, 3), stages.dtype)
            timed("place", partial(stages.place, batch, images, canvases))
            timed("run", partial(stages.run, batch, images, canvases))
    _check(timed("post", lambda: [stages.finish(image) for image in images]))
    return seconds


def time_end_to_end(detector: Detector, files: Sequence[Path]) -> float:
    """Seconds of one call of `Detector.predict` with one batch. Raises ImageError if an image failed."""
    start = time.perf_counter()
    results = detector.predict(list(files), batch_size=len(files))
    seconds = time.perf_counter() - start
    _check(results)
    return seconds


def _check(results: Sequence[Detections]) -> None:
    for result in results:
        if result.error is not None:
            raise ImageError(f"cannot time a batch with a failure in it: {result.error}")


def measure(
    subjects: Sequence[Subject],
    files: Sequence[Path],
    batches: Sequence[int],
    repeats: int,
    progress: Callable[[], None] | None = None,
) -> None:
    """Fill `times` and `warm_up` of each subject: `repeats` batches of each size.

    The innermost loop is over the subjects, and the first to go changes every time, so that no model always runs in
    the caches or on the clock that another has left behind. Each turn begins with a pause and a batch that is not
    counted; stages and end to end take turns in being timed first.
    """
    for batch in batches:
        for subject in subjects:
            start = time.perf_counter()
            for turn in range(WARM_UP_BATCHES):
                time_stages(subject.backend, subject.size, _turn(files, turn, batch))
                if turn == 0:
                    subject.warm_up[batch] = time.perf_counter() - start
            subject.times[batch] = []
    for turn in range(repeats):
        for batch in batches:
            chosen = _turn(files, turn, batch)
            for place in range(len(subjects)):
                subject = subjects[(place + turn) % len(subjects)]
                subject.times[batch].append(_time_batch(subject, chosen, stages_first=turn % 2 == 0))
                if progress is not None:
                    progress()


def _time_batch(subject: Subject, files: Sequence[Path], *, stages_first: bool) -> BatchTime:
    """Both times of one batch, after the threads of other models have gone to sleep and this one's are awake."""
    time.sleep(SETTLE_S)
    time_stages(subject.backend, subject.size, files)
    if stages_first:
        stages = time_stages(subject.backend, subject.size, files)
        return BatchTime(stages, time_end_to_end(subject.detector, files))
    end_to_end = time_end_to_end(subject.detector, files)
    return BatchTime(time_stages(subject.backend, subject.size, files), end_to_end)


def per_image_ms(seconds: Sequence[float], batch: int) -> dict[str, float]:
    """Batch times -> p50, p90, p99, mean, max of the time per image [ms]: the batch's time divided by its images."""
    values = np.asarray(seconds) * 1000 / batch
    found = {f"p{q}": float(np.percentile(values, q)) for q in PERCENTILES}
    return {**found, "mean": float(values.mean()), "max": float(values.max())}


def speed_against(first: Sequence[BatchTime], other: Sequence[BatchTime]) -> float:
    """How many times faster `other` is end to end: the median over repetitions, each compared with its neighbour."""
    return float(np.median([a.end_to_end / b.end_to_end for a, b in zip(first, other, strict=True)]))


def _turn(files: Sequence[Path], turn: int, batch: int) -> list[Path]:
    """The images of one repetition: round and round, other ones every time."""
    return [files[(turn * batch + place) % len(files)] for place in range(batch)]
