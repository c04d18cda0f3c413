"""Repeat the paper's analyses on any data set and checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cornernet.engine.printable import printable
from cornernet.options import one_of, parse_assignment, parse_size, progress_bars

if TYPE_CHECKING:
    from cornernet.benchmarks.analyses.analyses_report import Report, Table

EXAMPLES = """
cornernet analyse iou model.onnx data/shapes --split val
cornernet analyse ground-truth runs/shapes/best.safetensors data/shapes
cornernet analyse quadrants abl/full/seed-317/last.safetensors data/shapes
cornernet analyse errors runs/shapes/best.safetensors data/shapes
cornernet analyse pictures runs/shapes/best.safetensors photo.jpg -o pictures
cornernet analyse ablations data/shapes -o abl --epochs 12
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint (.safetensors): the analysis needs its maps.")]
Dataset = Annotated[Path, typer.Argument(help="Folder with images/ and annotations/instances_<split>.json.")]
Split = Annotated[str, typer.Option(help="Split to analyse.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the JSON and the picture.")]
Resize = Annotated[
    str | None,
    typer.Option(
        callback=one_of("original", "fit"),
        help="original: keep each image's resolution; fit: scale to the training canvas, the default if known.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one.")]
Against = Annotated[Path | None, typer.Option(help="Another one to compare with; it comes first in the table.")]
Threshold = Annotated[float, typer.Option(min=0, max=1, help="Boxes and corners below this score do not count.")]


@app.command("iou")
def iou(
    model: Annotated[Path, typer.Argument(help="A model: .onnx, .engine or a checkpoint (.safetensors).")],
    dataset: Dataset,
    split: Split = "val",
    output: Output = Path("analyses"),
    against: Against = None,
    resize: Resize = None,
) -> None:
    """Table 5: AP at IoU 0.5 to 0.9, how tight the boxes are."""
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.benchmarks.analyses.iou import COLUMNS, ap_by_iou, iou_table
    from cornernet.engine.scoring.coco import load_coco
    from cornernet.trainer.deploy.open_model import open_detector

    _check(output, "iou", inputs=[model, against])
    data = load_coco(dataset, split)
    measured: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for name, path in _named(model, against).items():
        with open_detector(path, resize=resize) as detector, _progress(data, name) as advance:
            measured[name], seen = ap_by_iou(detector, data, progress=advance)
        notes += seen
    bar_chart(measured, COLUMNS, "AP at IoU thresholds", output / "iou.png")
    settings = _settings(data, resize=resize)
    _finish("iou", settings, (iou_table(measured),), output, notes=tuple(dict.fromkeys(notes)))


@app.command("ground-truth")
def ground_truth(
    checkpoint: Checkpoint,
    dataset: Dataset,
    split: Split = "val",
    output: Output = Path("analyses"),
    resize: Resize = None,
    device: Device = None,
) -> None:
    """Table 6: predicted maps replaced by the ground truth, through the deployed decoder."""
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.benchmarks.analyses.ground_truth import COLUMNS, ap_with_true_maps, ground_truth_table
    from cornernet.benchmarks.analyses.observe import Network
    from cornernet.engine.scoring.coco import load_coco

    _check(output, "ground-truth", inputs=[checkpoint])
    data = load_coco(dataset, split)
    network = Network.open(checkpoint, resize, device)
    with _progress(data, checkpoint.stem) as advance:
        measured = ap_with_true_maps(network, data, progress=advance)
    bar_chart(measured, COLUMNS, "Predicted maps replaced by the ground truth", output / "ground-truth.png")
    _finish("ground-truth", _settings(data, resize=resize), (ground_truth_table(measured),), output)


@app.command("quadrants")
def quadrants(
    checkpoint: Checkpoint,
    dataset: Dataset,
    split: Split = "val",
    output: Output = Path("analyses"),
    against: Against = None,
    radius: Annotated[
        float, typer.Option(min=0, help="A peak within this distance of a corner is right [cells].")
    ] = 2.5,
    resize: Resize = None,
    device: Device = None,
) -> None:
    """Table 3: corner mAP by quadrant of the image. --against: a checkpoint without corner pooling."""
    from cornernet.benchmarks.analyses.analysis_charts import quadrant_chart
    from cornernet.benchmarks.analyses.observe import Network
    from cornernet.benchmarks.analyses.quadrants import corner_map_by_quadrant, quadrant_tables
    from cornernet.engine.scoring.coco import load_coco

    _check(output, "quadrants", inputs=[checkpoint, against])
    data = load_coco(dataset, split)
    measured = {}
    for name, path in _named(checkpoint, against).items():
        network = Network.open(path, resize, device)
        with _progress(data, name) as advance:
            measured[name] = corner_map_by_quadrant(network, data, radius=radius, progress=advance)
    quadrant_chart(measured, output / "quadrants.png")
    settings = _settings(data, resize=resize, radius_cells=radius)
    _finish("quadrants", settings, quadrant_tables(measured), output)


@app.command("errors")
def errors(
    checkpoint: Checkpoint,
    dataset: Dataset,
    split: Split = "val",
    output: Output = Path("analyses"),
    threshold: Threshold = 0.5,
    resize: Resize = None,
    device: Device = None,
) -> None:
    """Figure 9: missed objects and false boxes, counted by cause, with examples."""
    from cornernet.benchmarks.analyses.analysis_charts import error_chart
    from cornernet.benchmarks.analyses.errors_picture import draw_errors
    from cornernet.benchmarks.analyses.mistakes import error_tables, find_errors
    from cornernet.benchmarks.analyses.observe import Network
    from cornernet.engine.scoring.coco import load_coco

    _check(output, "errors", ("errors", "errors-examples"), inputs=[checkpoint])
    data = load_coco(dataset, split)
    network = Network.open(checkpoint, resize, device)
    with _progress(data, checkpoint.stem) as advance:
        found = find_errors(network, data, threshold=threshold, progress=advance)
    error_chart(found, output / "errors.png")
    draw_errors(found, network.card.class_names, output / "errors-examples.png")
    _finish("errors", _settings(data, resize=resize, threshold=threshold), error_tables(found), output)


@app.command("pictures")
def pictures(
    checkpoint: Checkpoint,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    output: Output = Path("analyses"),
    threshold: Threshold = 0.5,
    resize: Resize = None,
    device: Device = None,
) -> None:
    """Figures 10 and 8: boxes and corners over heatmaps, and corner pooling; of a Saccade also attention and crops."""
    from cornernet.benchmarks.analyses.heatmap_picture import draw_heatmaps
    from cornernet.benchmarks.analyses.observe import Network
    from cornernet.benchmarks.analyses.pooling_picture import draw_pooling
    from cornernet.benchmarks.analyses.saccade_picture import draw_saccade
    from cornernet.engine.reading.images import read_image

    drawn = [f"{image.stem}-{what}" for image in images for what in ("heatmaps", "pooling", "saccade")]
    _check(output, "pictures", drawn, inputs=[checkpoint, *images])
    network = Network.open(checkpoint, resize, device)
    for image in images:
        seen = network.observe(read_image(image))
        written = [output / f"{image.stem}-heatmaps.png"]
        found = draw_heatmaps(network, seen, written[0], threshold=threshold)
        if network.config.corner_pooling:
            written.append(output / f"{image.stem}-pooling.png")
            draw_pooling(network, seen, written[1])
        if network.card.saccade is not None:
            written.append(output / f"{image.stem}-saccade.png")
            found = draw_saccade(network, seen.image, written[-1], threshold=threshold)
        typer.echo(f"{printable(image)}: {len(found)} boxes; {', '.join(map(printable, written))}")


@app.command("ablations")
def ablations(
    dataset: Dataset,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the runs, the JSON and the picture.")],
    only: Annotated[list[str] | None, typer.Option(help="These ablations only; may be repeated.")] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Several seeds show how much is noise; may be repeated.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="hourglass-104, squeeze, tiny, saccade or saccade-tiny.")] = None,
    size: Annotated[str | None, typer.Option(help="Training canvas, HEIGHTxWIDTH [px].")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per optimiser step.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any field, as key=value; may be repeated.")] = None,
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    split: Annotated[str, typer.Option(help="Split to measure on.")] = "val",
    device: Device = None,
) -> None:
    """Tables 1 and 2: train with and without corner pooling, with no, a fixed and an object-dependent radius.

    One configuration file each (benchmarks/ablations), the options on top of all of them. Runs that are complete in the
    output folder are not trained again.
    """
    from cornernet.benchmarks.analyses.ablations import (
        ABLATIONS,
        COLUMNS,
        ablation_config,
        ablation_means,
        ablation_tables,
        run_ablations,
    )
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.engine.scoring.coco import load_coco

    overrides: dict[str, Any] = {"preset": preset, "size": parse_size(size), "epochs": epochs}
    overrides |= {"batch_size": batch_size, **dict(parse_assignment(text) for text in set_ or [])}
    names = only or list(ABLATIONS)
    if unknown := sorted(set(names) - set(ABLATIONS)):
        raise typer.BadParameter(f"there is no ablation '{unknown[0]}'; choose of {', '.join(ABLATIONS)}")
    _check(output, "ablations", inputs=[])
    config = ablation_config("full", **overrides)
    train_data, val_data = load_coco(dataset, train_split), load_coco(dataset, split)
    runs = run_ablations(
        names,
        seed or [config.seed],
        train_data,
        val_data,
        output,
        device=device,
        finished=lambda run: typer.echo(f"{run.ablation}, seed {run.seed}: AP {100 * run.stats['AP']:.1f}"),
        **overrides,
    )
    tables = ablation_tables(runs)
    bar_chart(ablation_means(runs), COLUMNS, "Ablations", output / "ablations.png")
    budget = config.model_dump(mode="json", include={"preset", "size", "epochs", "batch_size", "learning_rate"})
    settings = _settings(val_data, train_images=len(train_data.samples), steps=runs[0].steps, **budget)
    _finish("ablations", settings, tables, output)


def _check(output: Path, analysis: str, charts: Sequence[str] = (), *, inputs: Sequence[Path | None]) -> None:
    """Before the work: neither the report nor the charts (default: one of the analysis' name) are somebody else's."""
    from cornernet.outputs import Ours, check_outputs, json_starting_with, marked_picture

    report: dict[Path, Ours] = {output / f"{analysis}.json": json_starting_with("analysis")}
    pictures = {output / f"{name}.png": marked_picture for name in charts or (analysis,)}
    check_outputs(report | pictures, [path for path in inputs if path is not None])


def _named(model: Path, against: Path | None) -> dict[str, Path]:
    """Models by the last part in which their paths differ: runs/full/last and runs/plain/last are full and plain."""
    if against is None:
        return {model.stem: model}
    first, second = (path.with_suffix("").parts for path in (against, model))
    for one, other in zip(reversed(first), reversed(second)):
        if one != other:
            return {one: against, other: model}
    return {str(against): against, str(model): model}


def _settings(data: Any, **more: Any) -> dict[str, Any]:
    """What decides the numbers: data and options, without the paths of this machine."""
    folder = data.annotation_file.parent.parent.name
    return {
        "dataset": folder,
        "split": data.annotation_file.stem.removeprefix("instances_"),
        "images": len(data.samples),
        "objects": int(sum((~sample.crowd).sum() for sample in data.samples)),
        **{key: value for key, value in more.items() if value is not None},
    }


@contextmanager
def _progress(data: Any, name: str) -> Iterator[Callable[[int], None]]:
    """A bar over the images of a data set; gives what advances it."""
    with progress_bars() as bars:
        task = bars.add_task(name, total=len(data.samples))
        yield lambda count: bars.advance(task, count)


def _finish(
    analysis: str, settings: dict[str, Any], tables: tuple[Table, ...], output: Path, *, notes: tuple[str, ...] = ()
) -> Report:
    """Print the tables, write the JSON."""
    import shlex
    import sys

    from cornernet.benchmarks.analyses.analyses_report import Report
    from cornernet.terminal import make_console

    report = Report(analysis, shlex.join(["cornernet", *sys.argv[1:]]), settings, tables, notes)
    report.print(make_console())
    report.write(output / f"{analysis}.json")
    typer.echo(f"written: {printable(output / analysis)}.json and pictures in {printable(output)}", err=True)
    return report
