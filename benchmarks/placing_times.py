"""How long the placing kernel takes for a batch, measured as kernels.py does: a graph of launches between two events.

    python -m cornernet.benchmarks.placing_times [--json FILE] [--rehearse]

bytes: each pixel of the source that is read, and each of the canvases, once. --rehearse: a pretended device, no times.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet import plugins
from cornernet.benchmarks.kernels import NO_GPU, Device, Stopwatch
from cornernet.plugins.driver import Driver, DriverError
from cornernet.plugins.launchers import SCALINGS, Launchers, View


class Batch(NamedTuple):
    """So many images of (height, width) [px], scaled to fit a square canvas of this side [px]; floats: interpolated in
    float32 onto canvases of it, as a CornerNet-Saccade's."""

    images: int
    size: tuple[int, int]
    side: int
    floats: bool = False

    @property
    def resized(self) -> tuple[int, int]:
        factor = self.side / max(self.size)
        height, width = (max(1, round(length * factor)) for length in self.size)
        return height, width

    @property
    def moved_bytes(self) -> int:
        return 3 * self.images * self.size[0] * self.size[1] + self.canvas_bytes

    @property
    def canvas_bytes(self) -> int:
        return 3 * self.images * self.side**2 * (4 if self.floats else 1)


BATCHES = (
    Batch(1, (480, 640), 511),
    Batch(16, (480, 640), 511),
    Batch(16, (1080, 1920), 511),
    Batch(16, (400, 511), 511),
    Batch(32, (480, 640), 255, floats=True),
)
REHEARSAL = (Batch(2, (24, 32), 40), Batch(1, (100, 90), 20), Batch(1, (50, 60), 30, floats=True))


def measure(device: Device, launchers: Launchers, batch: Batch, watch: Stopwatch) -> dict[str, Any]:
    """One row. Below half size areas are averaged, as a Detector does."""
    height, width = batch.size
    noise = np.random.default_rng(0).integers(0, 256, (batch.images, height, width, 3), dtype=np.uint8)
    pixels, canvases = device.allocate(noise.nbytes), device.allocate(batch.canvas_bytes)
    device.to_device(pixels, noise.ctypes.data, noise.nbytes)
    resized = batch.resized
    strides, areas = (3 * width, 3, 1), resized[0] / height < 0.5
    method = "bilinear_floats" if batch.floats else "areas" if areas else "bilinear"
    parts = [*strides, *batch.size, *resized, 0, 0, *resized]
    views = [
        View(pixels + number * noise[0].nbytes, *parts, number % 2, SCALINGS[method]) for number in range(batch.images)
    ]
    square = (batch.side, batch.side)
    place: Callable[..., None] = launchers.place_views
    if batch.floats:
        place = partial(launchers.place_float_views, whole=False)
    microseconds = watch.microseconds(lambda turn: place(views, canvases, square, (0, 0, 0), stream=watch.stream))
    device.free_all()
    return {
        **batch._asdict(),
        "method": method,
        "microseconds": microseconds,
        "gigabytes_per_second": batch.moved_bytes / microseconds / 1000,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time of the placing kernel.")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    parser.add_argument("--rehearse", action="store_true", help="small batches on the emulation; no times")
    options = parser.parse_args(arguments)
    try:
        device, library = _pretended() if options.rehearse else (Driver(), plugins.library_path())
    except DriverError as error:
        print(f"placing_times needs an NVIDIA GPU: {error}", file=sys.stderr)
        return NO_GPU
    if library is None:
        print("no plugin library. Build it with: cmake -B build && cmake --build build -j2", file=sys.stderr)
        return NO_GPU
    watch = Stopwatch(device, launches=2, rounds=1) if options.rehearse else Stopwatch(device)
    rows = [measure(device, Launchers(library), b, watch) for b in (REHEARSAL if options.rehearse else BATCHES)]
    for row in rows:
        print(row)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def _pretended() -> tuple[Device, Path]:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import emulation

    return emulation.PretendedDevice(), emulation.built_emulation()


if __name__ == "__main__":
    sys.exit(main())
