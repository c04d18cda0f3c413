"""How busy the pipeline keeps an accelerator: a simulated one, which waits, so that everything else is measured.

    python -m cornernet.benchmarks.pipeline --json pipeline.json
    python -m cornernet.benchmarks.pipeline --growth 100,1000,10000

The simulated model takes a fixed time per image, leaves the CPU alone, and gives a thousand candidates an image, as a
crowded scene does. `in turn` is the same work one batch after the other, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.latency.postprocessing import crowded_views
from cornernet.engine.backends import RawDetections
from cornernet.engine.detector import Detector
from cornernet.engine.machine import machine_facts, summary, usable_cores
from cornernet.engine.model_card import ModelCard
from cornernet.engine.reading.images import ImageSource, read_image
from cornernet.engine.running.serial import one_after_the_other
from cornernet.engine.whole_file import write_text_whole

BATCH, CANVAS = 16, (512, 512)
COSTS_MS = (0.25, 0.5, 1.0, 2.0, 4.0)
THRESHOLDS = (0.0, 0.3)
CLASSES = 80
WARM_UP_BATCHES = 4


class SimulatedAccelerator:
    """A backend that waits `cost_ms` per image and always finds the same thousand candidates."""

    name = "simulated accelerator"

    def __init__(self, cost_ms: float) -> None:
        names = tuple(f"class {number}" for number in range(CLASSES))
        self.card = ModelCard(
            name="simulated", class_names=names, category_ids=tuple(range(CLASSES)), train_size=CANVAS
        )
        self.cost_ms = cost_ms
        self.busy_s = 0.0
        views = crowded_views(CLASSES)
        self._raw = RawDetections(*(np.repeat(values[:1], BATCH, axis=0) for values in views))

    def run(self, canvases: np.ndarray) -> RawDetections:
        start = time.perf_counter()
        time.sleep(self.cost_ms * len(canvases) / 1000)
        self.busy_s += time.perf_counter() - start
        return RawDetections(*(values[: len(canvases)] for values in self._raw))

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Row:
    """One point of the sweep.

    busy: share of the time in which the accelerator worked. cpu_ms: of one core, per image. limit: images/s that
    accelerator and cores allow, whichever is less. in_turn: images/s of one batch after the other.
    """

    source: str
    cost_ms: float
    threshold: float
    images: int
    images_per_s: float
    busy: float
    cpu_ms: float
    limit: float
    in_turn: float


def measure(sources: Sequence[ImageSource], kind: str, cost_ms: float, threshold: float, images: int) -> Row:
    """`images` images through `Detector.stream`, and a quarter of them one batch after the other."""
    backend = SimulatedAccelerator(cost_ms)
    with Detector(backend, resize="fit", size=CANVAS, score_threshold=threshold) as detector:
        _consume(detector.stream(_first(sources, WARM_UP_BATCHES * BATCH), batch_size=BATCH))
        backend.busy_s, start, cpu = 0.0, time.perf_counter(), time.process_time()
        _consume(detector.stream(_first(sources, images), batch_size=BATCH))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        busy = backend.busy_s / seconds
        fewer = max(BATCH, images // 4)
        start = time.perf_counter()
        _consume(one_after_the_other(detector.stages, _first(sources, fewer), batch_size=BATCH, window=BATCH))
        in_turn = fewer / (time.perf_counter() - start)
    cpu_ms = cpu / images * 1000
    limit = min(1000 / cost_ms, 1000 * usable_cores() / cpu_ms)
    return Row(kind, cost_ms, threshold, images, images / seconds, busy, cpu_ms, limit, in_turn)


def sweep(
    folder: Path,
    *,
    costs_ms: Sequence[float] = COSTS_MS,
    thresholds: Sequence[float] = THRESHOLDS,
    seconds: float = 2.0,
) -> list[Row]:
    """Every cost, threshold and kind of source; each for about `seconds` on an accelerator that never waits."""
    files = write_pictures(folder, count=32)
    sources_of: dict[str, Sequence[ImageSource]] = {"arrays": [read_image(file) for file in files], "files": files}
    rows = []
    for kind, sources in sources_of.items():
        for cost_ms in costs_ms:
            images = max(2 * BATCH, int(min(1000.0, 1000 / cost_ms) * seconds) // BATCH * BATCH)
            rows += [measure(sources, kind, cost_ms, threshold, images) for threshold in thresholds]
    return rows


def growth(folder: Path, counts: Sequence[int], *, cost_ms: float = 1.0) -> list[dict[str, float]]:
    """Images/s and peak memory of this process [MiB] as the number of images grows: both should not change."""
    files = write_pictures(folder, count=32)
    found = []
    for count in counts:
        row = measure(files, "files", cost_ms, 0.0, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found.append({"images": count, "images_per_s": row.images_per_s, "busy": row.busy, "peak_mib": peak})
    return found


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| source | model [ms/image] | threshold | images/s | model busy | limit | CPU [ms/image] | in turn |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.source} | {row.cost_ms:g} | {row.threshold:g} | {row.images_per_s:.0f} | {row.busy:.0%} | "
        f"{row.limit:.0f} | {row.cpu_ms:.2f} | {row.in_turn:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def growth_table(found: Sequence[dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| images | images/s | model busy | peak memory [MiB] |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {row['images']:,} | {row['images_per_s']:.0f} | {row['busy']:.0%} | {row['peak_mib']:.0f} |"
        for row in found
    ]
    return "\n".join(lines)


def render(report: Mapping[str, Any]) -> str:
    """Markdown of a whole report."""
    cpu = report["machine"]["cpu"]
    said = (
        f"{cpu['model']}, {cpu['usable_cores']} cores, {report['machine']['date'][:10]}; batch {BATCH}, canvas "
        f"{CANVAS[0]}x{CANVAS[1]}, pictures of 640x480 px, a thousand candidates each:"
    )
    parts = [said, table([Row(**row) for row in report["rows"]])]
    if report["growth"]:
        parts.append(growth_table(report["growth"]))
    return "\n\n".join(parts)


def _first(sources: Sequence[ImageSource], count: int) -> Iterator[ImageSource]:
    return islice(cycle(sources), count)


def _consume(results: Iterator[Any]) -> None:
    for found in results:
        assert found.error is None, found.error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How busy the pipeline keeps a simulated accelerator.")
    parser.add_argument("--costs", default=",".join(map(str, COSTS_MS)), help="what the model takes [ms per image]")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each point")
    parser.add_argument("--growth", help="numbers of images, such as 100,1000,10000: does speed or memory change?")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args(arguments)
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        costs = [float(cost) for cost in options.costs.split(",")]
        rows = sweep(Path(folder), costs_ms=costs, seconds=options.seconds)
        print(table(rows))
        grown = growth(Path(folder), [int(count) for count in options.growth.split(",")]) if options.growth else []
    if grown:
        print("\n" + growth_table(grown))
    print(f"\nbatch {BATCH}, canvas {CANVAS[0]}x{CANVAS[1]}, 640x480 pictures; {summary(facts)}")
    if options.json is not None:
        report = {"machine": facts, "rows": [asdict(row) for row in rows], "growth": grown}
        write_text_whole(options.json, json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
