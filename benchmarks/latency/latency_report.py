"""What a benchmark measured: JSON for a file, a table for the terminal, both from the same rows.

JSON, format "cornernet-benchmark/1":
    machine         see machine.machine_facts
    settings        command, canvas, repeats, images, what the numbers mean
    models          one each: name, runtime, precision, bytes, sha256, cold_start_s {import, open, first, process},
                    accuracy {AP, AP50, ... or null}
    rows            one per model and batch size: model, batch, samples, stages {read, place, run, post: {p50, p90,
                    p99, mean, max}} and end_to_end {...}, all ms per image; images_per_s; speed (times faster than
                    the first model end to end, median of paired repetitions); first_batch_ms (warm-up, not in the
                    numbers)
    pipeline        if asked for, the rows of benchmarks/pipeline.py
    postprocessing  candidates, budget_ms, and per number of classes p50, p90, p99 [CPU ms]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.console import Console
from rich.table import Table

from cornernet.benchmarks.latency.postprocessing import BUDGET_MS, CANDIDATES
from cornernet.benchmarks.latency.stage_times import PERCENTILES, STAGES, Subject, per_image_ms, speed_against
from cornernet.engine.errors import DatasetError
from cornernet.engine.machine import summary
from cornernet.engine.printable import printable

FORMAT = "cornernet-benchmark/1"


@dataclass(frozen=True)
class Row:
    """One model at one batch size; see the module's docstring."""

    model: str
    batch: int
    samples: int
    stages: dict[str, dict[str, float]]
    end_to_end: dict[str, float]
    images_per_s: float
    speed: float
    first_batch_ms: float

    def numbers(self) -> list[float]:
        """What every reader of a row relies on."""
        stages = [self.stages[stage]["p50"] for stage in STAGES]
        return [*stages, *(self.end_to_end[f"p{q}"] for q in PERCENTILES), self.images_per_s, self.speed]


@dataclass(frozen=True)
class Report:
    """See the module's docstring."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    models: list[dict[str, Any]]
    rows: list[Row]
    postprocessing: dict[str, Any]
    pipeline: list[dict[str, Any]] = field(default_factory=list)
    format: str = FORMAT

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Inverse of `write`. Raises DatasetError if the file is not such a report."""
        try:
            report = TypeAdapter(cls).validate_json(path.read_bytes())
            numbers = [value for row in report.rows for value in row.numbers()]
            if report.format != FORMAT or not report.rows or not all(0 <= value < float("inf") for value in numbers):
                raise ValueError(f"format {report.format!r}, {len(report.rows)} rows; expected {FORMAT!r} and times")
        except (OSError, ValueError, KeyError) as error:
            why = " ".join(str(error).split())[:300]
            raise DatasetError(
                f"{printable(path)}: not a result of `cornernet benchmark` ({why}); measure again"
            ) from error
        return report

    def print(self, console: Console) -> None:
        """The tables and what their numbers mean."""
        console.print(_stage_table(self))
        console.print(_latency_table(self))
        console.print(_model_table(self.models))
        for classes, found in self.postprocessing["classes"].items():
            kept = "within" if found["p50"] <= BUDGET_MS else "OVER"
            console.print(
                f"post-processing of {CANDIDATES} candidates of {classes} classes: p50 {found['p50']:.2f} ms, "
                f"p99 {found['p99']:.2f} ms of one core per image, {kept} the budget of {BUDGET_MS:g} ms",
                highlight=False,
            )
        if self.pipeline:
            console.print(_pipeline_table(self.pipeline))
        for note in (*self.settings["meaning"], summary(self.machine)):
            console.print(note, style="dim", highlight=False)


def make_rows(subjects: list[Subject]) -> list[Row]:
    """Batch by batch, the models beside each other."""
    rows = []
    for batch in subjects[0].times:
        for subject in subjects:
            times = subject.times[batch]
            total = [time.end_to_end for time in times]
            rows.append(
                Row(
                    model=subject.name,
                    batch=batch,
                    samples=len(times),
                    stages={s: per_image_ms([time.stages[s] for time in times], batch) for s in STAGES},
                    end_to_end=per_image_ms(total, batch),
                    images_per_s=batch * len(total) / sum(total),
                    speed=speed_against(subjects[0].times[batch], times),
                    first_batch_ms=subject.warm_up[batch] * 1000,
                )
            )
    return rows


def meaning(repeats: int) -> list[str]:
    """What a reader must know to use the numbers."""
    notes = [
        "ms per image = time of a batch / its images; stages by their p50, timed one after the other.",
        "end to end: Detector.predict on the same files, one batch a call; it reads ahead, so it may be less than the "
        "sum of the stages, or more by what joins them.",
        "speed: times faster end to end than the first model, median of repetitions run side by side.",
    ]
    if repeats < 100:
        notes.append(f"p99 of {repeats} repetitions is close to their slowest; --repeats 100 or more gives a true one.")
    return notes


def _table(title: str, heads: Sequence[str]) -> Table:
    """A model column, then numbers; narrow enough for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold", min_width=10)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _stage_table(report: Report) -> Table:
    height, width = report.settings["canvas"]
    title = (
        f"ms per image by stage, p50 of {report.settings['repeats']} batches, canvas {height}x{width} (height x width)"
    )
    table = _table(title, ("batch", *STAGES))
    for row in report.rows:
        cells = [row.model, str(row.batch), *(_ms(row.stages[stage]["p50"]) for stage in STAGES)]
        table.add_row(*cells, end_section=row.model == report.models[-1]["name"])
    return table


def _latency_table(report: Report) -> Table:
    accuracy = {model["name"]: model["accuracy"] for model in report.models}
    has_accuracy = any(accuracy.values())
    heads = ("batch", *(f"p{q}" for q in PERCENTILES), "images/s", "speed")
    table = _table("ms per image end to end", (*heads, *(("AP", "AP50") if has_accuracy else ())))
    for row in report.rows:
        cells = [row.model, str(row.batch)]
        cells += [_ms(row.end_to_end[f"p{q}"]) for q in PERCENTILES]
        cells += [f"{row.images_per_s:.1f}", f"{row.speed:.2f}x"]
        if has_accuracy:
            found = accuracy[row.model]
            cells += [f"{found[key]:.3f}" if found else "-" for key in ("AP", "AP50")]
        table.add_row(*cells, end_section=row.model == report.models[-1]["name"])
    return table


def _pipeline_table(rows: Sequence[dict[str, Any]]) -> Table:
    heads = ("source", "model [ms]", "threshold", "images/s", "model busy", "limit", "in turn")
    table = _table("a simulated accelerator, batch 16, canvas 512x512", heads)
    for row in rows:
        table.add_row(
            row["source"],
            f"{row['cost_ms']:g}",
            f"{row['threshold']:g}",
            f"{row['images_per_s']:.0f}",
            f"{row['busy']:.0%}",
            f"{row['limit']:.0f}",
            f"{row['in_turn']:.0f}",
        )
    return table


def _model_table(models: list[dict[str, Any]]) -> Table:
    heads = ("MB", "import", "open", "first", "process")
    table = _table("models; cold start in a fresh process, seconds", heads)
    for model in models:
        cold = model["cold_start_s"]
        numbers = [f"{cold[key]:.2f}" if cold else "-" for key in ("import", "open", "first", "process")]
        name = f"{model['name']}: {model['runtime']}, {model['precision']}"
        table.add_row(name, f"{model['bytes'] / 1e6:.1f}", *numbers)
    return table


def _ms(value: float) -> str:
    """Three significant digits, as many as a timing carries."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
