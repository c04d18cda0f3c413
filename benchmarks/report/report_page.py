"""A report as one HTML file that asks for nothing else: styles and pictures are in it, scripts there are none."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from cornernet.benchmarks.report import machine_tables, report_charts, report_tables
from cornernet.benchmarks.report.report_charts import Chart
from cornernet.benchmarks.report.report_inputs import Inputs, short_names
from cornernet.benchmarks.report.report_tables import Table
from cornernet.engine.errors import ImageError
from cornernet.engine.installation import missing
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.picture_file import MARK
from cornernet.engine.scoring.problem_groups import grouped

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ModuleNotFoundError as error:
    raise missing("jinja2", "a report") from error

PICTURE_PX = 1400
"""Wider pictures are made smaller: the page is no wider."""

MOST_NOTES = 30

COMMANDS = {
    "Training": "`cornernet train data/mine -o runs/mine`",
    "Accuracy": "`cornernet evaluate model.onnx data/mine`",
    "Precision and recall": "`cornernet evaluate model.onnx data/mine`",
    "F1 over the threshold": "`cornernet evaluate model.onnx data/mine`",
    "Confusion": "`cornernet evaluate model.onnx data/mine`",
    "Causes of errors": "`cornernet analyse errors runs/mine/best.safetensors data/mine`",
    "Pictures": "`cornernet train data/mine -o runs/mine`",
    "Latency": "`cornernet benchmark model.onnx`",
    "Models": "`cornernet export runs/mine/best.safetensors -o model.onnx`",
    "Machine and versions": "`cornernet benchmark model.onnx`",
}
"""The sections in their order, and what makes the data of each."""


@dataclass
class Panel:
    """One piece of a section: a chart, a picture or a table, with a line above it."""

    title: str = ""
    chart: Chart | None = None
    picture: str = ""
    table: Table | None = None
    wide: bool = False


@dataclass
class Section:
    """Without panels it says which command makes its data."""

    title: str
    intro: str = ""
    panels: list[Panel] = field(default_factory=list)
    notes: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")

    @property
    def command(self) -> str:
        return COMMANDS.get(self.title, "").strip("`")


def render_report(inputs: Inputs, *, title: str = "CornerNet report", now: datetime | None = None) -> str:
    """The whole page. Names in it come from files of unknown origin: all of them are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A lone surrogate in a name would end the writing of the page.
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    sections = _sections(inputs)
    return environment.get_template("page.html.jinja").render(
        title=title,
        mark=MARK,
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("cornernet"),
        glance=report_tables.glance(inputs),
        sections=sections,
        problems=inputs.problems,
        files=short_names(inputs.files()),
        svg=Markup,
    )


def _sections(inputs: Inputs) -> list[Section]:
    evaluations = report_tables.names_of(inputs.evaluations)
    curved = {name: one for name, one in evaluations.items() if one.curves}
    colours = report_charts.class_colours(list(evaluations.values()))
    several = len(evaluations) > 1
    runs = dict(zip(short_names([run.folder for run in inputs.runs.values()]), inputs.runs.values()))
    benchmarks = dict(zip(short_names(list(inputs.benchmarks)), inputs.benchmarks.values()))

    def each(chart: Callable[..., Chart]) -> list[Panel]:
        return [Panel(name if several else "", chart=chart(one, colours)) for name, one in curved.items()]

    training = Section("Training")
    if runs:
        charts = (("Loss", report_charts.loss_chart(runs)), ("Validation AP", report_charts.ap_chart(runs)))
        training.panels = [Panel(title, chart=chart) for title, chart in charts if chart is not None]
        training.panels.append(Panel(table=report_tables.run_table(runs), wide=True))

    accuracy = Section("Accuracy")
    if evaluations:
        accuracy.intro = "; ".join(
            dict.fromkeys(
                f"{report_tables.data_of(one)}: {one.images:,} pictures, {one.objects:,} objects"
                for one in evaluations.values()
            )
        )
        accuracy.panels = [
            Panel(table=report_tables.coco_table(evaluations), wide=True),
            Panel(table=report_tables.class_table(evaluations), wide=True),
        ]
        accuracy.notes = _notes(list(evaluations.values()))

    f1 = Section("F1 over the threshold", panels=each(report_charts.f1_chart))
    f1.panels += [
        Panel(table=report_tables.threshold_table(one, name if several else ""), wide=several)
        for name, one in evaluations.items()
        if one.best_f1
    ]
    if f1.panels:
        f1.intro = "The threshold that shows most of what is right and least of what is wrong, at IoU 0.5."

    confused = [
        Panel(
            table=report_tables.confusion_table(one.confusion, name if several else ""),
            wide=len(one.confusion.names) > 6,
        )
        for name, one in evaluations.items()
        if one.confusion is not None
    ]
    causes, further = _analyses(inputs)
    latency = Section("Latency")
    for name, report in benchmarks.items():
        chart = Chart(report_charts.stage_chart(report))
        latency.panels.append(Panel(name if len(benchmarks) > 1 else "", chart=chart, wide=True))
        latency.panels.append(Panel(table=machine_tables.latency_table(report), wide=True))
        if (cold := machine_tables.cold_start_table(report)) is not None:
            latency.panels.append(Panel(table=cold, wide=True))
        latency.notes = [*dict.fromkeys([*latency.notes, *map(str, report.settings.get("meaning", ()))])]

    models = dict(zip(short_names(list(inputs.models)), inputs.models.items()))
    machines = {name: report.machine for name, report in benchmarks.items()}
    return [
        training,
        accuracy,
        Section(
            "Precision and recall",
            "At IoU 0.5, interpolated as COCO does it." if curved else "",
            each(report_charts.precision_chart),
        ),
        f1,
        Section(
            "Confusion",
            "Objects by what was shown for them, at the thresholds of the best F1." if confused else "",
            confused,
        ),
        causes,
        *further,
        _pictures(inputs, but=_examples(inputs)),
        latency,
        Section("Models", panels=[Panel(table=machine_tables.model_table(models), wide=True)] if models else []),
        Section(
            "Machine and versions",
            panels=[Panel(table=table, wide=len(machines) > 1) for table in machine_tables.machine_tables(machines)],
        ),
    ]


def _analyses(inputs: Inputs) -> tuple[Section, list[Section]]:
    """The causes of errors, and a section for each other analysis that is there."""
    sections = {"errors": Section("Causes of errors")}
    several = len({report.analysis for report in inputs.analyses.values()}) < len(inputs.analyses)
    for name, (path, report) in zip(short_names(list(inputs.analyses)), inputs.analyses.items()):
        section = sections.setdefault(report.analysis, Section(f"Analysis: {report.analysis}"))
        threshold = report.settings.get("threshold")
        above = f", boxes and corners from {threshold} on" if threshold is not None else ""
        about = f"{report.settings.get('dataset', '')} {report.settings.get('split', '')}{above}".strip()
        section.intro = "; ".join(filter(None, (section.intro, f"{name}: {about}" if several else about)))
        title = name if several else ""
        section.panels += [Panel(title, table=report_tables.analysis_table(table)) for table in report.tables]
        section.notes = [*section.notes, *report.notes]
        examples = path.with_name(f"{path.stem}-examples.png")
        if examples in inputs.pictures and (picture := _embed(examples, inputs)):
            section.panels.append(Panel(f"Examples {title}".strip(), picture=picture, wide=True))
    return sections.pop("errors"), list(sections.values())


def _examples(inputs: Inputs) -> set[Path]:
    return {path.with_name(f"{path.stem}-examples.png") for path in inputs.analyses}


def _pictures(inputs: Inputs, *, but: set[Path]) -> Section:
    """What was found beside the truth."""
    shown = [path for path in inputs.pictures if path not in but]
    section = Section("Pictures")
    for name, path in zip(short_names(shown), shown):
        if picture := _embed(path, inputs):
            section.panels.append(Panel(name if len(shown) > 1 else "", picture=picture, wide=True))
    return section


def _embed(path: Path, inputs: Inputs) -> str:
    """A picture as a data URI; '' if it cannot be read, which is noted."""
    try:
        image = read_image(path)
    except ImageError as error:
        inputs.problems.append(str(error))
        return ""
    scale = PICTURE_PX / image.shape[1]
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 82])
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"


def _notes(evaluations: Sequence[Any]) -> list[str]:
    """What the readers of the numbers have to know."""
    notes = [line for one in evaluations for line in grouped(one.notes)]
    notes += [f"could not be used: {entry.get('error', '')}" for one in evaluations for entry in one.errors]
    notes = list(dict.fromkeys(notes))
    more = [f"and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []
    return notes[:MOST_NOTES] + more
