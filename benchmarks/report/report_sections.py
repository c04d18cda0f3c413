"""The sections of a report, each from the inputs that it is about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.report import machine_tables, report_charts, report_tables
from cornernet.benchmarks.report.report_charts import Chart
from cornernet.benchmarks.report.report_inputs import Evaluation, Inputs, short_names
from cornernet.benchmarks.report.report_tables import Table
from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import read_image
from cornernet.engine.scoring.problem_groups import grouped

PICTURE_PX = 1400
"""Wider pictures are made smaller: the page is no wider."""

MOST_NOTES = 30

HALF_WIDTH = 6
"""So many classes have a confusion table that fits beside another."""

COMMANDS = {
    "Training": "`cornernet train data/mine -o runs/mine`",
    "Accuracy": "`cornernet evaluate model.onnx data/mine`",
    "Precision, recall, F1": "`cornernet evaluate model.onnx data/mine`",
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
        return "-".join(self.title.lower().replace(",", "").replace(":", "").split())

    @property
    def command(self) -> str:
        return COMMANDS.get(self.title, "").strip("`")


def make_sections(inputs: Inputs) -> list[Section]:
    """In the order of the page. A picture that cannot be read becomes one of `inputs.problems`."""
    evaluations = report_tables.names_of(inputs.evaluations)
    benchmarks = dict(zip(short_names(list(inputs.benchmarks)), inputs.benchmarks.values()))
    causes, further = _analyses(inputs)
    return [
        _training(inputs),
        _accuracy(evaluations),
        _curves(evaluations),
        _confusion(evaluations),
        causes,
        *further,
        _pictures(inputs, but=_examples(inputs)),
        _latency(benchmarks),
        _models(inputs),
        _machine(benchmarks),
    ]


def _training(inputs: Inputs) -> Section:
    runs = dict(zip(short_names([run.folder for run in inputs.runs.values()]), inputs.runs.values()))
    section = Section("Training")
    if runs:
        charts = (("Loss", report_charts.loss_chart(runs)), ("Validation AP", report_charts.ap_chart(runs)))
        section.panels = [Panel(title, chart=chart) for title, chart in charts if chart is not None]
        section.panels.append(Panel(table=report_tables.run_table(runs), wide=True))
    return section


def _accuracy(evaluations: Mapping[str, Evaluation]) -> Section:
    section = Section("Accuracy")
    if evaluations:
        tables = (report_tables.coco_table(evaluations), report_tables.class_table(evaluations))
        section.panels = [Panel(table=table, wide=True) for table in tables]
        sizes = (
            f"{report_tables.data_of(one)}: {one.images:,} pictures, {one.objects:,} objects"
            for one in evaluations.values()
        )
        section.intro = "; ".join(dict.fromkeys(sizes))
        section.notes = _notes(list(evaluations.values()))
    return section


def _curves(evaluations: Mapping[str, Evaluation]) -> Section:
    several = len(evaluations) > 1
    colours = report_charts.class_colours(list(evaluations.values()))
    section = Section("Precision, recall, F1")
    for name, one in evaluations.items():
        if one.curves:
            of = f", {name}" if several else ""
            section.panels += [
                Panel(f"Precision over recall{of}", chart=report_charts.precision_chart(one, colours)),
                Panel(f"F1 over the threshold{of}", chart=report_charts.f1_chart(one, colours)),
            ]
    for name, one in evaluations.items():
        if one.best_f1:
            section.panels.append(Panel(name if several else "", table=report_tables.threshold_table(one), wide=True))
    if section.panels:
        section.intro = (
            "At IoU 0.5, precision interpolated as COCO does it. The best F1 is at the threshold that shows most of "
            "what is right and least of what is wrong."
        )
    return section


def _confusion(evaluations: Mapping[str, Evaluation]) -> Section:
    section = Section("Confusion")
    for name, one in evaluations.items():
        if one.confusion is not None:
            section.intro = "Objects by what was shown for them, at the thresholds of the best F1."
            title, wide = name if len(evaluations) > 1 else "", len(one.confusion.names) > HALF_WIDTH
            section.panels.append(Panel(title, table=report_tables.confusion_table(one.confusion), wide=wide))
    return section


def _latency(benchmarks: Mapping[str, Latency]) -> Section:
    section = Section("Latency")
    for name, report in benchmarks.items():
        title = name if len(benchmarks) > 1 else ""
        section.panels.append(Panel(title, chart=Chart(report_charts.stage_chart(report)), wide=True))
        section.panels.append(Panel(title, table=machine_tables.latency_table(report), wide=True))
        if (cold := machine_tables.cold_start_table(report)) is not None:
            section.panels.append(Panel(title, table=cold, wide=True))
        meaning = report.settings.get("meaning")
        said = map(str, meaning) if isinstance(meaning, list) else ()
        section.notes = list(dict.fromkeys([*section.notes, *said]))
    return section


def _models(inputs: Inputs) -> Section:
    models = dict(zip(short_names(list(inputs.models)), inputs.models.items()))
    return Section("Models", panels=[Panel(table=machine_tables.model_table(models), wide=True)] if models else [])


def _machine(benchmarks: Mapping[str, Latency]) -> Section:
    tables = machine_tables.machine_tables({name: report.machine for name, report in benchmarks.items()})
    wide = len(benchmarks) > 1
    return Section("Machine and versions", panels=[Panel(table=table, wide=wide) for table in tables])


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


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    """What the readers of the numbers have to know."""
    notes = [line for one in evaluations for line in grouped(one.notes)]
    notes += [f"could not be used: {entry.get('error', '')}" for one in evaluations for entry in one.errors]
    notes = list(dict.fromkeys(notes))
    more = [f"and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []
    return notes[:MOST_NOTES] + more
