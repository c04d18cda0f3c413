"""Score a model on a data set: the twelve COCO numbers, AP and the best threshold per class."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import (
    BatchSize,
    CanvasSize,
    DatasetFolder,
    DecodeMode,
    Device,
    MaxCrops,
    Merge,
    Mirror,
    Model,
    Plugins,
    PrecisionName,
    ProtocolName,
    ResizeRule,
    RuntimeName,
    Scales,
    Threads,
    detector_settings,
    one_of,
    progress_bars,
    say_what_runs,
)
from cornernet.terminal import make_console

if TYPE_CHECKING:
    from rich.table import Table

    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.scoring.evaluation import EvaluationReport, Stats

EXAMPLES = """
cornernet evaluate model.onnx data/shapes --split val
cornernet evaluate runs/shapes/best.safetensors data/shapes --split val
# box for box as the paper's code, all scales, with the result file for COCO's server
cornernet evaluate model.onnx coco --split val2017 --protocol official --mirror
cornernet evaluate model.onnx coco --split val2017 --protocol official --scales 0.5,0.75,1,1.25,1.5 --merge
cornernet evaluate model.onnx coco --split val2017 --results results.json
# measure from which score on boxes are worth showing, and let the model say so
cornernet evaluate model.onnx data/shapes --split val --write-threshold
"""

LISTED_NOTES = 10


def run(
    model: Model,
    dataset: DatasetFolder,
    split: Annotated[str, typer.Option(help="Which part of the data set; val finds valid and val2017 too.")] = "val",
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures, if elsewhere.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Annotation file, if elsewhere.")] = None,
    protocol: ProtocolName = "default",
    runtime: RuntimeName = None,
    precision: PrecisionName = None,
    threads: Threads = None,
    decode: DecodeMode = "exact",
    device: Device = None,
    plugins: Plugins = None,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    mirror: Mirror = None,
    scales: Scales = "1",
    merge: Merge = False,
    max_crops: MaxCrops = None,
    batch_size: BatchSize = 8,
    evaluator: Annotated[
        str,
        typer.Option(
            callback=one_of("auto", "pycocotools", "faster-coco-eval"),
            help="auto takes faster-coco-eval if it is installed; the numbers are the same.",
        ),
    ] = "auto",
    results: Annotated[Path | None, typer.Option(help="Write the detections as a COCO result file.")] = None,
    write_threshold: Annotated[
        bool,
        typer.Option("--write-threshold", help="Keep each class's best threshold in the model: predict's new default."),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", help="File for the numbers; default MODEL.DATASET.SPLIT.json beside it."),
    ] = None,
) -> None:
    """Detect on every picture of the split and score by the COCO protocol.

    A picture that cannot be read is listed and counts as one without detections.
    """
    from cornernet.engine.datasets.layouts import load_dataset
    from cornernet.engine.installation import require
    from cornernet.engine.scoring.evaluation import evaluate, json_text
    from cornernet.outputs import check_outputs, json_starting_with, write_text
    from cornernet.trainer.deploy.open_model import open_detector, precision_of, runtime_of, sha256_of

    settings = detector_settings(
        protocol=protocol,
        resize=resize,
        size=size,
        mirror=mirror,
        scales=scales,
        merge=merge,
        max_crops=max_crops,
        runtime=runtime,
        precision=precision,
        threads=threads,
        device=device,
        plugins=plugins,
        decode=decode,
    )
    if write_threshold and model.suffix.lower() == ".onnx":
        require("onnx", "writing thresholds into an ONNX file")  # said before the work, not after it
    data = load_dataset(dataset, split, images=images, annotations=annotations)
    file = json or model.with_name(f"{model.name}.{dataset.resolve().name}.{split}.json")
    written = {file: json_starting_with("file")}
    if results is not None:
        written[results] = json_starting_with("image_id")
    check_outputs(written, [model, data.annotation_file, *(sample.path for sample in data.samples)])
    with open_detector(model, **settings) as detector, progress_bars() as bars:
        say_what_runs(detector.backend)
        ran = {"runtime": runtime_of(detector.backend), "precision": precision_of(detector.backend)}
        task = bars.add_task("evaluating", total=len(data))
        report = evaluate(
            detector,
            data,
            batch_size=batch_size,
            progress=lambda done: bars.advance(task, done),
            evaluator=evaluator,  # type: ignore[arg-type]
        )
    # Printed first: an hour's work is not to be lost because a file cannot be written.
    console = make_console()
    console.print(_overall(report.stats))
    console.print(_by_class(report))
    _print_notes(report)
    content = {"file": printable(model), "sha256": sha256_of(model), **ran, "settings": settings, **report.to_dict()}
    write_text(file, json_text(content))
    if results is not None:
        write_text(results, json_module.dumps(report.results))
    names = ", ".join(map(printable, written))
    if write_threshold:
        _write_thresholds(model, detector.card, report)
        write_text(file, json_text(content | {"sha256": sha256_of(model)}))
    typer.echo(f"{report.stats.images} pictures, {report.stats.objects} objects -> {names}")


def _overall(stats: "Stats") -> "Table":
    """Two lines of six, as the COCO server shows them; -1 (nothing of that kind to find) as a dash."""
    from rich.table import Table
    from rich.text import Text

    names = list(stats.values)
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in (names[:6], names[6:]):
        table.add_row(*(Text.assemble((name, "dim"), " ", (_number(stats[name]), "bold")) for name in row))
    return table


def _write_thresholds(model: Path, card: "ModelCard", report: "EvaluationReport") -> None:
    """Into the model's card."""
    from cornernet.engine.errors import DatasetError
    from cornernet.engine.scoring.best_threshold import class_thresholds
    from cornernet.export.write_card import write_card

    thresholds = class_thresholds(report.best_f1, card.class_names)
    if thresholds is None:
        raise DatasetError("no box was right, so there is no threshold to write; the model was left as it was")
    write_card(model, card.model_copy(update={"score_thresholds": thresholds}))
    listed = [f"{name}={value:.2f}" for name, value in zip(card.class_names, thresholds)]
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    typer.echo(f"thresholds in {printable(model)}: {', '.join(listed[:10])}{more}", err=True)


def _by_class(report: "EvaluationReport") -> "Table":
    """AP, and what predict shows with the best threshold of each class; the last row: one threshold for all."""
    from rich.table import Table

    best = {entry.category_id: entry for entry in report.best_f1}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))  # fits 80 columns
    table.add_column("class", no_wrap=True)
    for head in ("objects", "AP", "AP50", "AR100", "best F1", "threshold", "precision", "recall"):
        table.add_column(head, justify="right")

    def shown(category_id: int | None) -> list[str]:
        found = best.get(category_id)
        return (
            ["-"] * 4 if found is None else [*map(_number, (found.F1, found.threshold, found.precision, found.recall))]
        )

    for entry in report.stats.per_class:
        numbers = map(_number, (entry.AP, entry.AP50, entry.AR100))
        table.add_row(entry.name, str(entry.objects), *numbers, *shown(entry.category_id))
    stats = report.stats
    numbers = map(_number, (stats["AP"], stats["AP50"], stats["AR100"]))
    table.add_row("all", str(stats.objects), *numbers, *shown(None))
    return table


def _number(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def _print_notes(report: "EvaluationReport") -> None:
    from cornernet.engine.scoring.problem_groups import grouped

    for kind, lines in (("could not be used", report.failures), ("note", grouped(report.notes))):
        for line in lines[:LISTED_NOTES]:
            typer.secho(f"{kind}: {line}", fg=typer.colors.YELLOW, err=True)
        if len(lines) > LISTED_NOTES:
            typer.secho(f"{kind}: {len(lines) - LISTED_NOTES} more, see the JSON", fg=typer.colors.YELLOW, err=True)
