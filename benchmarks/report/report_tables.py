"""The tables of a report: numbers of the inputs as cells, models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from cornernet.benchmarks.analyses.analyses_report import Table as AnalysisTable
from cornernet.benchmarks.analyses.analyses_report import shown
from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.report.report_inputs import Evaluation, Inputs, Run, short_names
from cornernet.engine.scoring.coco_stats import STATS
from cornernet.engine.scoring.confusion import Confusion

WHOLE_TABLE = 15
"""So many classes have their confusion table drawn; of more the commonest confusions are listed."""


DASH = "\u2013"
"""Where there is no number."""


@dataclass(frozen=True)
class Cell:
    """text: what stands there. share: of the cell that is shaded, 0 to 1; None: none."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """The first column holds the rows' names, the others numbers. groups: heads over columns, (text, columns each)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    groups: tuple[tuple[str, int], ...] = ()
    grid: bool = False
    """Shade whole cells, as of a confusion table, instead of bars."""
    words: tuple[int, ...] = ()
    """Columns besides the first that hold words."""


def score(value: float | None, *, bar: bool = False) -> Cell:
    """A fraction; the protocol's -1 (nothing of that kind) as a dash."""
    if value is None or value < 0:
        return Cell(DASH)
    return Cell(f"{value:.3f}", min(1.0, value) if bar else None)


def milliseconds(value: float) -> Cell:
    """Three digits, as many as a timing carries."""
    return Cell(f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}")


def names_of(evaluations: Mapping[Path, Evaluation]) -> dict[str, Evaluation]:
    """By model; with the data set where there are several, with the file where that is not enough."""
    models = _model_names(evaluations)
    data = [data_of(one) for one in evaluations.values()]
    several = len(set(data)) > 1
    names = [f"{model} on {split}" if several else model for model, split in zip(models, data)]
    if len(set(names)) < len(names):
        names = [f"{name} ({file})" for name, file in zip(names, short_names(list(evaluations)))]
    return dict(zip(names, evaluations.values()))


def _model_names(evaluations: Mapping[Path, Evaluation]) -> list[str]:
    return short_names([Path(one.file or one.model) for one in evaluations.values()])


def data_of(evaluation: Evaluation) -> str:
    """'shapes test' of .../shapes/annotations/instances_test.json."""
    path = PurePath(evaluation.dataset)
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    return f"{folder.name} {path.stem.removeprefix('instances_')}".strip()


def glance(inputs: Inputs) -> Table:
    """A row for each model that was scored or timed: how good, how fast, how large.

    Both are in one row if the files were the same to the bit; of several runtimes, the one that was scored.
    """
    files = short_names(list(inputs.benchmarks))
    timed = [
        _Timed(model, report, file if len(files) > 1 else "")
        for file, report in zip(files, inputs.benchmarks.values())
        for model in report.models
    ]
    rows = []
    for name, one in zip(_model_names(inputs.evaluations), inputs.evaluations.values()):
        best = next((best for best in one.best_f1 if best.category_id is None), None)
        values = [one.values.get("AP"), one.values.get("AP50"), *((best.F1, best.threshold) if best else (None, None))]
        mine = next((entry for entry in timed if entry.is_of(one)), None)
        rows.append((Cell(name), Cell(data_of(one)), *map(score, values), *_speed(mine)))
    for entry in timed:
        if not any(entry.is_of(one) for one in inputs.evaluations.values()):
            found = accuracy_of(entry.model)
            data = str(entry.report.settings.get("data") or "").removeprefix("instances_").removesuffix(".json")
            cells = map(score, (found.get("AP"), found.get("AP50"), None, None))
            rows.append((Cell(entry.title), Cell(data if found else DASH), *cells, *_speed(entry)))
    columns = ("AP", "AP50", "best F1", "threshold", "ms, one image", "images/s", "MB", "parameters")
    return Table(("model", "data", *columns), tuple(rows), words=(1,))


class _Timed(NamedTuple):
    """A model of a benchmark."""

    model: Mapping[str, Any]
    report: Latency
    file: str

    @property
    def name(self) -> str:
        return str(self.model.get("name", ""))

    @property
    def title(self) -> str:
        return f"{self.name} ({self.file})" if self.file else self.name

    def is_of(self, one: Evaluation) -> bool:
        ran = {key: value for key in ("runtime", "precision") if (value := getattr(one, key)) is not None}
        return one.sha256 is not None and all(
            self.model.get(key) == value for key, value in {"sha256": one.sha256, **ran}.items()
        )


def _speed(timed: _Timed | None) -> tuple[Cell, ...]:
    """Of the smallest batch end to end, images/s of the fastest batch, size of the file, parameters."""
    rows = [row for row in timed.report.rows if row.model == timed.name] if timed is not None else []
    if timed is None or not rows:
        return (Cell(DASH),) * 4
    size = number(timed.model.get("bytes"))
    return (
        milliseconds(min(rows, key=lambda row: row.batch).end_to_end["p50"]),
        Cell(f"{max(row.images_per_s for row in rows):.0f}"),
        Cell(DASH if size is None else f"{size / 1e6:.1f}"),
        Cell(count_of(number(timed.model.get("parameters")))),
    )


def run_table(runs: Mapping[str, Run]) -> Table:
    """What a training came to."""
    rows = []
    for name, run in runs.items():
        losses = [row for row in run.rows if "loss" in row]
        scored = [row for row in run.rows if "AP" in row]
        best = max(scored, key=lambda row: row["AP"], default={})
        speeds = [row["images_per_second"] for row in losses if "images_per_second" in row]
        rows.append(
            (
                Cell(name),
                Cell(f"{max((row['step'] for row in run.rows), default=0):,.0f}"),
                Cell(f"{losses[-1]['loss']:.3f}" if losses else DASH),
                score(best.get("AP")),
                score(best.get("AP50")),
                Cell(f"{best['epoch']:.0f}" if "epoch" in best else DASH),
                Cell(f"{np.median(speeds):.0f}" if speeds else DASH),
            )
        )
    return Table(("run", "steps", "last loss", "best AP", "its AP50", "in epoch", "images/s"), tuple(rows))


def coco_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """The twelve numbers of the COCO protocol."""
    rows = tuple((Cell(name), *(score(one.values.get(key)) for key in STATS)) for name, one in evaluations.items())
    return Table(("model", *STATS), rows)


def class_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """AP of each class, models side by side; their objects once if they are the same."""
    entries = [{entry.name: entry for entry in one.per_class} for one in evaluations.values()]
    names = dict.fromkeys(name for found in entries for name in found)
    counts = [{name: entry.objects for name, entry in found.items()} for found in entries]
    same = all(count == counts[0] for count in counts)
    heads = ("AP", "AP50", "AR100") if same else ("objects", "AP", "AP50", "AR100")
    rows = []
    for name in names:
        cells = [Cell(name), *([Cell(f"{counts[0][name]:,}")] if same else [])]
        for found in (by_name.get(name) for by_name in entries):
            if not same:
                cells.append(Cell(f"{found.objects:,}" if found else DASH))
            cells.append(score(found.AP if found else None, bar=True))
            cells += [score(found.AP50 if found else None), score(found.AR100 if found else None)]
        rows.append(tuple(cells))
    groups = (("", 1 + same), *((name, len(heads)) for name in evaluations)) if len(evaluations) > 1 else ()
    return Table(("class", *(("objects",) if same else ()), *heads * len(evaluations)), tuple(rows), groups=groups)


def threshold_table(evaluation: Evaluation) -> Table:
    """Where F1 is best, and what is found and missed there."""
    rows = tuple(
        (
            Cell("all classes" if one.category_id is None else one.name),
            score(one.threshold),
            score(one.F1, bar=True),
            score(one.precision),
            score(one.recall),
            Cell(f"{one.found:,} of {one.objects:,}"),
        )
        for one in evaluation.best_f1
    )
    return Table(("class", "threshold", "F1", "precision", "recall", "found"), rows)


def confusion_table(found: Confusion) -> Table:
    """Rows: what is there. Columns: what was shown. Shaded by the share of the row."""
    counts = np.array(found.counts)
    if len(found.names) > WHOLE_TABLE:
        return _commonest(found, counts)
    heads = [*found.names, "nothing"]
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = tuple(
        (Cell(head), *(Cell(f"{count:,}" if count else "·", float(share)) for count, share in zip(line, shares)))
        for head, line, shares in zip(heads, counts.tolist(), counts / total)
    )
    groups = (("", 1), ("shown", len(heads)))
    return Table(("there", *heads), rows, groups=groups, grid=True)


def _commonest(found: Confusion, counts: np.ndarray, most: int = 20) -> Table:
    names = [*found.names, "nothing"]
    apart = counts.copy()
    np.fill_diagonal(apart, 0)
    order = np.argsort(-apart, axis=None, kind="stable")[:most]
    places = [divmod(int(place), len(names)) for place in order if apart.flat[place]]
    rows = tuple((Cell(names[row]), Cell(names[column]), Cell(f"{apart[row, column]:,}")) for row, column in places)
    return Table(("there", "shown", "times"), rows, words=(1,))


def analysis_table(table: AnalysisTable) -> Table:
    """As the terminal shows it; a fraction with a bar."""
    rows = tuple(
        tuple(Cell(shown(cell), cell if isinstance(cell, float) and 0 <= cell <= 1 else None) for cell in row)
        for row in table.rows
    )
    return Table(table.columns, rows, caption=table.title)


def accuracy_of(model: Mapping[str, Any]) -> dict[str, float]:
    """AP and AP50 that a benchmark measured beside the time."""
    found = model.get("accuracy")
    values = found if isinstance(found, dict) else {}
    return {key: value for key in ("AP", "AP50") if (value := number(values.get(key))) is not None}


def number(value: Any) -> float | None:
    """`value` if it is a number that can be printed."""
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else None


def count_of(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def some(texts: Sequence[str], most: int = 8) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
