"""Pictures of a data set that cannot be read, or are not of the size that their annotations are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import Rules, read_reduced
from cornernet.engine.running.cores import workers_for
from cornernet.engine.scoring.coco import Sample


def unusable_pictures(samples: Iterable[Sample], progress: Callable[[int], None] = lambda done: None) -> list[str]:
    """A report line for each; every picture is decoded, a JPEG at an eighth. progress: called after each."""
    lines: list[str] = []
    with ThreadPoolExecutor(workers_for(None)) as threads:
        for line in threads.map(_complaint, samples):
            progress(1)
            if line is not None:
                lines.append(line)
    return lines


def _complaint(sample: Sample) -> str | None:
    try:
        _, (height, width) = read_reduced(sample.path, Rules(), reduction=lambda size: 8)
    except ImageError as error:
        return str(error)
    return sample.wrong_size(height, width)
