"""A test of the tests: take one barrier out of a kernel, and the race detector must notice.

A detector that never reports anything proves nothing, and a barrier that nobody misses is waiting for nothing.
"""

import multiprocessing
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

KERNELS = Path(__file__).resolve().parents[2] / "plugins" / "kernels"
BARRIER = re.compile(r"^\s*(if \(.*\) |else )?(__syncthreads|__syncwarp|cluster_sync)\(\);")


def barriers() -> list[tuple[str, int]]:
    found = []
    for path in sorted([*KERNELS.glob("*.cu"), KERNELS / "block_select.h"]):
        for number, line in enumerate(path.read_text().splitlines()):
            if BARRIER.match(line):
                found.append((path.name, number))
    return found


def exercise(kernels) -> None:
    """Shapes that take every branch around a barrier: several bands, segments, strips, parts and shrinks."""
    rng = np.random.default_rng(0)
    for seed in (0, 1, 2):
        kernels.configure(seed=seed)
        for shape, layout in [
            ((1, 1, 70, 40), "planes"),
            ((1, 1, 20, 270), "planes"),
            ((1, 8, 40, 40), "channels_last_8"),
            ((1, 8, 256, 8), "channels_last_8"),  # strips of several groups of threads
            ((1, 8, 20, 270), "channels_last_8"),  # strips of several tiles
        ]:
            first, second = rng.standard_normal((2, *shape)).astype(np.float16)
            kernels.corner_pool(first, second, "top_left", layout)
        kernels.corner_peaks(np.linspace(-5, 5, 2 * 96 * 128, dtype=np.float32).reshape(1, 2, 96, 128), 20)
        kernels.corner_peaks(rng.random((1, 2, 130, 128)).astype(np.float32), 300)
        features, cells = rng.random((1, 72, 9, 8)).astype(np.float16), rng.integers(0, 72, (1, 5))
        kernels.corner_windows(features, cells, 3, "channels_last_8")
        boxes, labels = rng.random((1, 70, 4)), np.zeros((1, 70))
        placement = np.array([[0, 0, 9, 9, 1, 1, 1, 1, np.nan]])
        scores = np.linspace(1, 0.5, 70)[None]
        kernels.corner_soft_nms(boxes, scores, labels, np.array([70]), placement, limit=5)
        corners = [rng.random((1, 40)), np.ones((1, 40)), np.zeros((1, 40)), np.zeros((1, 40)), np.zeros((1, 40))]
        for num_dets in (150, 900, 2000):
            kernels.corner_group(corners, [corners[0][:, ::-1], *corners[1:]], num_dets=num_dets)


def races_found(kernels) -> int:
    exercise(kernels)
    return kernels.launchers.library.racecheck_races()


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), barriers())
def test_every_barrier_is_missed_when_it_is_taken_out(racecheck_of, tmp_path, file, line):
    sources = tmp_path / "kernels"
    shutil.copytree(KERNELS, sources)
    lines = (sources / file).read_text().splitlines()
    lines[line] = BARRIER.sub(lambda barrier: f"{barrier[1] or ''}{{}}", lines[line])
    (sources / file).write_text("\n".join(lines) + "\n")
    mutant = racecheck_of(sources, tmp_path)
    # In a process of its own: without its barrier a kernel may write anywhere, and dying is being noticed too.
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(min(races_found(mutant), 1)))
    child.start()
    child.join()
    assert child.exitcode != 0


def test_the_race_detector_is_silent_on_the_kernels_as_they_are(racecheck_of):
    kernels = racecheck_of(None, None)
    before = kernels.launchers.library.racecheck_races()
    assert races_found(kernels) == before
