"""One window after the other in the caller's thread: for a single image, and what the pipeline must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cornernet.engine.reading.images import ImageSource
from cornernet.engine.running.stages import Loaded, Stages


def one_after_the_other(
    stages: Stages, sources: Iterable[ImageSource], *, batch_size: int, window: int
) -> Iterator[Any]:
    """Results in order, see `Stages.finish`. At most `window` images are in memory, and fewer once they have
    `max_pixels` pixels."""
    waiting: list[Loaded] = []
    pixels = 0
    for numbered in enumerate(sources):
        waiting.append(stages.load(numbered))
        pixels += waiting[-1].area
        # The second condition bounds memory: few large pictures, or many small ones.
        if len(waiting) >= window or pixels >= stages.max_pixels:
            yield from run_window(stages, waiting, batch_size)
            waiting, pixels = [], 0
    yield from run_window(stages, waiting, batch_size)


def run_window(stages: Stages, window: list[Loaded], batch_size: int) -> list[Any]:
    """Results of images that share batches where their canvases are equal."""
    for _ in range(stages.looks):
        for batch in stages.views(window, batch_size):
            memory = np.empty(stages.bytes_to_place(batch, window), np.uint8)
            stages.run(batch, window, stages.place(batch, window, memory))
    return [stages.finish(loaded) for loaded in window]
