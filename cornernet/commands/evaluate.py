"""Score a model on a data set: the twelve COCO numbers and AP per class."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import (
    BatchSize,
    CanvasSize,
    DecodeMode,
    Device,
    Merge,
    Mirror,
    Model,
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

    from cornernet.engine.scoring.evaluation import EvaluationReport, Stats

EXAMPLES = """
cornernet evaluate model.onnx data/shapes --split val
cornernet evaluate runs/shapes/best.safetensors data/shapes --split val
# box for box as the paper's code, all scales, with the result file for COCO's server
cornernet evaluate model.onnx coco --split val2017 --protocol official --mirror
cornernet evaluate model.onnx coco --split val2017 --protocol official --scales 0.5,0.75,1,1.25,1.5 --merge
cornernet evaluate model.onnx coco --split val2017 --results results.json
"""

LISTED_NOTES = 10


def run(
    model: Model,
    dataset: Annotated[Path, typer.Argument(help="Folder with images/ and annotations/instances_<split>.json.")],
    split: Annotated[str, typer.Option(help="Which annotations/instances_<split>.json.")] = "val",
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures, if elsewhere.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Annotation file, if elsewhere.")] = None,
    protocol: ProtocolName = "default",
    runtime: RuntimeName = None,
    precision: PrecisionName = None,
    threads: Threads = None,
    decode: DecodeMode = "exact",
    device: Device = None,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    mirror: Mirror = None,
    scales: Scales = "1",
    merge: Merge = False,
    batch_size: BatchSize = 8,
    evaluator: Annotated[
        str,
        typer.Option(
            callback=one_of("auto", "pycocotools", "faster-coco-eval"),
            help="auto takes faster-coco-eval if it is installed; the numbers are the same.",
        ),
    ] = "auto",
    results: Annotated[Path | None, typer.Option(help="Write the detections as a COCO result file.")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="File for the numbers; default MODEL.SPLIT.json beside the model.")
    ] = None,
) -> None:
    """Detect on every picture of the split and score by the COCO protocol.

    A picture that cannot be read is listed and counts as one without detections.
    """
    from cornernet.engine.scoring.coco import load_coco
    from cornernet.engine.scoring.evaluation import evaluate
    from cornernet.outputs import check_outputs, json_starting_with, write_text
    from cornernet.trainer.deploy.open_model import open_detector, precision_of, runtime_of

    settings = detector_settings(
        protocol=protocol,
        resize=resize,
        size=size,
        mirror=mirror,
        scales=scales,
        merge=merge,
        runtime=runtime,
        precision=precision,
        threads=threads,
        device=device,
        decode=decode,
    )
    data = load_coco(dataset, split, images=images, annotations=annotations)
    file = json or model.with_name(f"{model.name}.{split}.json")
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
    console.print(_by_class(report.stats))
    _print_notes(report)
    content = {"file": printable(model), **ran, "settings": settings, **report.to_dict()}
    write_text(file, json_module.dumps(content, indent=1) + "\n")
    if results is not None:
        write_text(results, json_module.dumps(report.results))
    names = ", ".join(map(printable, written))
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


def _by_class(stats: "Stats") -> "Table":
    from rich.table import Table

    table = Table()
    table.add_column("class")
    for head in ("objects", "AP", "AP50", "AR100"):
        table.add_column(head, justify="right")
    for entry in stats.per_class:
        table.add_row(entry.name, str(entry.objects), _number(entry.AP), _number(entry.AP50), _number(entry.AR100))
    return table


def _number(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def _print_notes(report: "EvaluationReport") -> None:
    failures = [message for _, message in report.errors]
    for kind, lines in (("could not be used", failures), ("note", list(report.notes))):
        for line in lines[:LISTED_NOTES]:
            typer.secho(f"{kind}: {line}", fg=typer.colors.YELLOW, err=True)
        if len(lines) > LISTED_NOTES:
            typer.secho(f"{kind}: {len(lines) - LISTED_NOTES} more, see the JSON", fg=typer.colors.YELLOW, err=True)
