"""Score a model on a data set: the twelve COCO numbers and AP per class."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cornernet.options import MERGE_EXPONENT, one_of, parse_numbers, parse_size, progress_bars

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
    model: Annotated[Path, typer.Argument(help=".onnx, .engine, or a .safetensors checkpoint (needs torch).")],
    dataset: Annotated[Path, typer.Argument(help="Folder with images/ and annotations/instances_<split>.json.")],
    split: Annotated[str, typer.Option(help="Which annotations/instances_<split>.json.")] = "val",
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures, if elsewhere.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Annotation file, if elsewhere.")] = None,
    protocol: Annotated[
        str,
        typer.Option(callback=one_of("default", "official", "mmdetection"), help="default, official or mmdetection."),
    ] = "default",
    resize: Annotated[
        str | None,
        typer.Option(
            callback=one_of("original", "fit"),
            help="original: keep the resolution. fit: scale to one canvas. Default: fit if the training size is known.",
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="Canvas for fit, HEIGHTxWIDTH [px].")] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Run the mirrored view too and merge.")] = False,
    scales: Annotated[str, typer.Option(help="Run at these scales and join what was found.")] = "1",
    merge: Annotated[
        bool, typer.Option("--merge", help="Average each box with those it suppresses (official multi-scale test).")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures the model gets at once.")] = 8,
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
    from rich.console import Console

    from cornernet.engine.scoring.coco import load_coco
    from cornernet.engine.scoring.evaluation import evaluate
    from cornernet.trainer.deploy.open_model import open_detector

    data = load_coco(dataset, split, images=images, annotations=annotations)
    settings: dict[str, Any] = {
        "protocol": protocol,
        "mirror": mirror or None,
        "scales": parse_numbers(scales, float, "scales"),
        "merge_exponent": MERGE_EXPONENT if merge else None,
        "size": parse_size(size),
        "resize": resize,
    }
    with open_detector(model, **settings) as detector, progress_bars() as bars:
        task = bars.add_task("evaluating", total=len(data))
        report = evaluate(
            detector,
            data,
            batch_size=batch_size,
            progress=lambda done: bars.advance(task, done),
            evaluator=evaluator,  # type: ignore[arg-type]
        )
    file = json or model.with_name(f"{model.name}.{split}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"file": str(model), "settings": settings, **report.to_dict()}
    file.write_text(json_module.dumps(content, indent=1) + "\n", encoding="utf-8")
    if results is not None:
        report.write_results(results)
    console = Console()
    console.print(_overall(report.stats))
    console.print(_by_class(report.stats))
    _print_notes(report)
    written = [file] + ([results] if results is not None else [])
    typer.echo(f"{report.stats.images} pictures, {report.stats.objects} objects -> {', '.join(map(str, written))}")


def _overall(stats: "Stats") -> "Table":
    """Two lines of six, as the COCO server shows them; -1 (nothing of that kind to find) as a dash."""
    from rich.table import Table

    names = list(stats.values)
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in (names[:6], names[6:]):
        table.add_row(*(f"[dim]{name}[/dim] [bold]{_number(stats[name])}[/bold]" for name in row))
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
