"""Every kernel against the references of tests/oracles.py, without pytest: for a machine that is lent for minutes.

    python -m cornernet.benchmarks.kernel_checks [--few] [--repeat N] [--emulated] [--json FILE]

A checkout is needed: references and memory come from its tests. Exit code 1 if a kernel differs in a bit (the sigmoid
of the peaks: in more than its last bit), 2 without a GPU. --few is what a sanitizer gets, which is a hundred times
slower. --emulated runs the kernels' source on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet import plugins
from cornernet.plugins.driver import Driver, DriverError
from cornernet.plugins.launchers import SCALINGS

TESTS = Path(__file__).resolve().parents[1] / "tests"
NO_GPU = 2
POOL_SHAPES = (
    ((1, 1, 1, 1), "planes"),
    ((2, 3, 7, 129), "planes"),
    ((1, 2, 128, 128), "planes"),
    ((1, 1, 9, 1024), "planes"),
    ((1, 1, 1024, 8), "planes"),
    ((8, 128, 128, 128), "planes"),
    ((1, 8, 16, 33), "channels_last_8"),
    ((1, 128, 128, 128), "channels_last_8"),
    ((8, 128, 128, 128), "channels_last_8"),
    ((2, 9, 40, 136), "channels_last_8"),
)
PEAK_SHAPES = (((1, 1, 1, 1), 5), ((1, 80, 128, 128), 100), ((8, 80, 128, 128), 100), ((2, 3, 33, 47), 1000))
WINDOW_SHAPES = (
    ((2, 9, 5, 7), 20, "planes"),
    ((2, 9, 5, 7), 20, "channels_last_8"),
    ((8, 256, 128, 128), 100, "planes"),
    ((8, 256, 128, 128), 100, "channels_last_8"),
)
GROUP_SLOTS = ((1, 1, 1), (8, 100, 1000), (1, 1000, 3840))
PLACE_SIZES = (
    ((1, 1), (5, 3)),
    ((48, 64), (60, 80)),
    ((60, 80), (30, 40)),
    ((90, 70), (17, 13)),
    ((480, 640), (383, 511)),
    ((1080, 1920), (287, 511)),
)
"""Of an image, and what it is scaled to, in every way."""
NMS_ROWS = ((2, 70, 20), (8, 1000, 100), (1, 3840, 200))
LARGEST_FEW = 1 << 18
"""Elements of a map beyond which a check is left out with --few."""


class Check(NamedTuple):
    """A name, and what raises AssertionError if the kernel and the reference differ."""

    name: str
    run: Callable[[], None]


def checks(kernels: Any, *, few: bool) -> Iterator[Check]:
    """All of them, smallest first within an operator."""
    import emulated_placing
    import ml_dtypes
    import oracles
    import oracles_placing

    from cornernet.engine.results.soft_nms import soft_nms as reference

    def same(got: np.ndarray, wanted: np.ndarray) -> None:
        np.testing.assert_array_equal(got.astype(np.float32), wanted.astype(np.float32))

    def pool(shape: tuple[int, ...], dtype: Any, layout: str, corner: str) -> None:
        first, second = np.random.default_rng(1).standard_normal((2, *shape)).astype(np.float32)
        first, second = first.astype(dtype), second.astype(dtype)
        same(kernels.corner_pool(first, second, corner, layout), oracles.corner_pool(first, second, corner))

    def peaks(shape: tuple[int, ...], dtype: Any, top_k: int) -> None:
        logits = np.random.default_rng(2).normal(-3, 2, shape).astype(np.float32).astype(dtype)
        got, wanted = kernels.corner_peaks(logits, top_k), oracles.corner_peaks(logits, top_k)
        np.testing.assert_allclose(got[0], wanted[0], rtol=1.2e-7, atol=0)
        same(got[1], wanted[1])
        same(got[2], wanted[2])

    def windows(shape: tuple[int, ...], slots: int, dtype: Any, layout: str) -> None:
        rng = np.random.default_rng(4)
        features = rng.standard_normal(shape, np.float32).astype(dtype)
        cells = rng.integers(0, shape[2] * shape[3], (shape[0], slots), np.int32)
        for size in (1, 3):
            wanted = oracles.corner_windows(features, cells, size)
            for got, one in zip(kernels.corner_windows(features, cells, size, layout), wanted):
                same(got, one)

    def group(images: int, slots: int, dets: int) -> None:
        rng = np.random.default_rng(3)
        sides = [
            [rng.random((images, slots)), rng.integers(-1, 5, (images, slots)), *rng.normal(0, 1, (3, images, slots))]
            for _ in range(2)
        ]
        sides = [[np.asarray(each, np.int32 if n == 1 else np.float32) for n, each in enumerate(s)] for s in sides]
        for got, wanted in zip(
            kernels.corner_group(*sides, num_dets=dets), oracles.corner_group(*sides, num_dets=dets)
        ):
            same(got, wanted)

    def place(image: tuple[int, int], resized: tuple[int, int], scaling: str) -> None:
        pixels = np.random.default_rng(4).integers(0, 256, (*image, 3), dtype=np.uint8)
        names = ("rows", "columns", "resized_rows", "resized_columns", "shown_rows", "shown_columns")
        sides = dict(zip(names, (*image, *resized, *resized)))
        view = dict(sides, pixels=0, top=1, left=2, mirrored=1, scaling=SCALINGS[scaling])
        size, shown = (resized[0] + 3, resized[1] + 4), (slice(1, 1 + resized[0]), slice(2, 2 + resized[1]))
        wanted = np.empty((*size, 3), np.float32)
        wanted[:] = (7, 8, 9)
        if scaling == "bilinear_floats":
            wanted[shown] = oracles_placing.bilinear_floats(pixels, resized)
        else:
            wanted[shown] = oracles_placing.resize(pixels, resized, areas=scaling == "areas")
        for dtype, whole in ((np.uint8, True), (np.float32, True), (np.float32, False)):
            (canvas,) = emulated_placing.place(kernels, pixels, [view], size, (7, 8, 9), dtype=dtype, whole=whole)
            same(canvas, (np.rint(wanted) if whole else wanted)[:, ::-1])

    def soft_nms(images: int, rows: int, limit: int) -> None:
        rng = np.random.default_rng(5)
        corner = rng.uniform(0, 400, (images, rows, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(1, 60, corner.shape)), axis=2).astype(np.float32)
        scores = np.sort(rng.random((images, rows), np.float32), axis=1)[:, ::-1]
        labels, counts = rng.integers(0, 3, (images, rows), np.int32), np.full(images, rows)
        as_they_are = np.array([[0, 0, np.inf, np.inf, 1, 1, 1, 1, np.nan]] * images)
        got = kernels.corner_soft_nms(boxes, scores, labels, counts, as_they_are, limit=limit)
        for image in range(images):
            wanted = reference(boxes[image], scores[image], labels[image], limit=limit)
            count = got[3][image]
            np.testing.assert_allclose(got[1][image, :count], wanted.scores, rtol=1e-5)
            # As sets: scores that differ in their last digit may change places.
            for one, other in (
                (got[0][image, :count], wanted.boxes),
                (got[2][image, :count], labels[image, wanted.rows]),
            ):
                same(np.sort(one, axis=0), np.sort(other, axis=0))

    for shape, layout in POOL_SHAPES:
        if few and np.prod(shape) > LARGEST_FEW:
            continue
        for dtype in (np.float16, ml_dtypes.bfloat16) if layout != "planes" else (np.float16, np.float32):
            for corner in ("top_left", "bottom_right"):
                name = f"corner_pool {layout} {np.dtype(dtype).name} {'x'.join(map(str, shape))} {corner}"
                yield Check(name, partial(pool, shape, dtype, layout, corner))
    for shape, top_k in PEAK_SHAPES:
        if few and np.prod(shape) > LARGEST_FEW:
            continue
        for dtype in (np.float16, np.float32):
            name = f"corner_peaks {np.dtype(dtype).name} {'x'.join(map(str, shape))} K={top_k}"
            yield Check(name, partial(peaks, shape, dtype, top_k))
    for shape, slots, layout in WINDOW_SHAPES:
        if few and np.prod(shape) > LARGEST_FEW:
            continue
        for dtype in (np.float16, ml_dtypes.bfloat16) if layout != "planes" else (np.float16, np.float32):
            name = f"corner_windows {layout} {np.dtype(dtype).name} {'x'.join(map(str, shape))} K={slots}"
            yield Check(name, partial(windows, shape, slots, dtype, layout))
    for images, slots, dets in GROUP_SLOTS:
        if not few or slots < 1000:
            yield Check(f"corner_group N={images} K={slots}", partial(group, images, slots, dets))
    for image, resized in PLACE_SIZES:
        if few and np.prod(image) > LARGEST_FEW // 16:
            continue
        for scaling in SCALINGS:
            name = f"place_views {'x'.join(map(str, image))} to {'x'.join(map(str, resized))} {scaling}"
            yield Check(name, partial(place, image, resized, scaling))
    for images, rows, limit in NMS_ROWS:
        if not few or rows < 1000:
            yield Check(f"corner_soft_nms N={images} D={rows}", partial(soft_nms, images, rows, limit))


def open_kernels(*, emulated: bool) -> Any:
    """tests/emulation.py's Kernels. Raises DriverError without a GPU, FileNotFoundError without the library."""
    sys.path.insert(0, str(TESTS))
    import emulation

    if emulated:
        return emulation.Kernels(emulation.built_emulation(), emulation.HostMemory())
    library = plugins.library_path()
    if library is None:
        raise FileNotFoundError("no plugin library; CORNERNET_PLUGINS_LIBRARY names it")
    return emulation.Kernels(library, emulation.DeviceMemory(Driver()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare every kernel with its reference.")
    parser.add_argument("--few", action="store_true", help="small shapes only")
    parser.add_argument("--repeat", type=int, default=1, help="times over, to find what happens now and then")
    parser.add_argument("--emulated", action="store_true", help="on the CPU")
    parser.add_argument("--json", type=Path, help="write the outcome of every check here")
    options = parser.parse_args(arguments)
    try:
        kernels = open_kernels(emulated=options.emulated)
    except (DriverError, FileNotFoundError) as error:
        print(f"the kernel checks need an NVIDIA GPU and the built library: {error}", file=sys.stderr)
        return NO_GPU
    outcomes = []
    for check in list(checks(kernels, few=options.few)) * options.repeat:
        began = time.perf_counter()
        try:
            check.run()
            why = ""
        except AssertionError as error:
            why = " ".join(str(error).split())[:500]
        outcomes.append({"check": check.name, "seconds": round(time.perf_counter() - began, 3), "differs": why})
        print(f"{'DIFFERS' if why else 'same':8}{check.name}  {why}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
    wrong = sum(bool(outcome["differs"]) for outcome in outcomes)
    print(f"{len(outcomes) - wrong} checks passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
