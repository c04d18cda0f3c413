"""How images go through the stages: one in the caller's thread, more of them through the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from cornernet.engine.backends.contract import batches_in_flight
from cornernet.engine.reading.images import ImageSource, expand_sources, is_one_image
from cornernet.engine.reading.video import Video, is_video
from cornernet.engine.running.memory import Memory
from cornernet.engine.running.overlapped import Pipeline
from cornernet.engine.running.serial import one_after_the_other
from cornernet.engine.running.stages import Stages


def results_of(
    stages: Stages,
    memory: Memory,
    images: ImageSource | Iterable[ImageSource],
    *,
    batch_size: int,
    window: int,
    workers: int,
    prefetch: int | None = None,
    patience: float | None = None,
) -> Iterator[Any]:
    """Results in order, see `Stages.finish`. Arguments: see `Pipeline`; prefetch None: see `Detector.stream`."""
    images = Video(images) if is_video(images) else images
    sources = expand_sources(images)
    if is_one_image(images) or isinstance(images, Sequence | np.ndarray):
        first = list(islice(sources, 2))  # it can be looked into without waiting
        sources = chain(first, sources)
        if len(first) < 2:
            return one_after_the_other(stages, sources, batch_size=batch_size, window=window)
    if prefetch is None:  # as many as keep every runner, the assembly and the readers busy
        busy = max(window * (batches_in_flight(stages.backend) + 2), 2 * workers)
        prefetch = 1 if isinstance(images, Video) and images.live else busy
    pipeline = Pipeline(
        stages,
        memory,
        sources,
        batch_size=batch_size,
        window=window,
        prefetch=prefetch,
        workers=workers,
        patience=patience,
    )
    return pipeline.results()
