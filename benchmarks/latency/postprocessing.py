"""The post-processing budget: 2,000 candidates of one image to its best 100 boxes in under 2 ms on one core."""

from __future__ import annotations

import time

import numpy as np

from cornernet.engine.backends import RawDetections
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.results.postprocess import Suppression, to_results

CANDIDATES = 2000
BUDGET_MS = 2.0


def crowded_views(classes: int, seed: int = 0) -> RawDetections:
    """A plain and a mirrored view of one image, 1,000 candidates each, clustered around 60 objects as real ones are.

    Canvas 512 x 512 px; scores fall off as a detector's do: few strong, many weak.
    """
    rng = np.random.default_rng(seed)
    views, rows = 2, CANDIDATES // 2
    objects = np.column_stack((rng.uniform(40, 470, (60, 2)), rng.uniform(16, 160, (60, 2))))
    of_object = rng.integers(0, len(objects), (views, rows))
    centre, sides = objects[of_object, :2], objects[of_object, 2:]
    centre = centre + rng.normal(0, 0.15, centre.shape) * sides
    sides = sides * rng.uniform(0.7, 1.4, sides.shape)
    boxes = np.concatenate((centre - sides / 2, centre + sides / 2), axis=2).astype(np.float32)
    scores = -np.sort(-rng.beta(0.4, 4, (views, rows)), axis=1).astype(np.float32)
    return RawDetections(
        boxes=boxes,
        scores=scores,
        corner_scores=np.stack((scores, scores), axis=2),
        labels=(of_object % classes).astype(np.int32),
        counts=np.full(views, rows, np.int32),
    )


def time_postprocessing(classes: int, repeats: int = 50) -> list[float]:
    """CPU milliseconds of each repetition, from the model's outputs to the image's results.

    CPU time of this thread, because the budget is one core's work; waiting for a core is not part of it.
    """
    raw = crowded_views(classes)
    plain = place_fit((480, 640), (512, 512), DEFAULT)
    times = []
    for _ in range(repeats + 3):
        start = time.thread_time()
        to_results([(raw, row, place) for row, place in enumerate((plain, plain.mirror()))], Suppression(), DEFAULT)
        times.append((time.thread_time() - start) * 1000)
    return times[3:]
