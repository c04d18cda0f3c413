"""Repeat the paper's analyses on any data set and checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cornernet.analysis_output import check_output, finish, names_of, progress_over, settings_of
from cornernet.commands import analyse_training
from cornernet.engine.printable import printable
from cornernet.options import DatasetFolder, one_of

EXAMPLES = """
cornernet analyse iou model.onnx data/shapes --split val
cornernet analyse ground-truth runs/shapes/best.safetensors data/shapes
cornernet analyse quadrants abl/full/seed-317/last.safetensors data/shapes
cornernet analyse errors runs/shapes/best.safetensors data/shapes
cornernet analyse pictures runs/shapes/best.safetensors photo.jpg -o pictures
cornernet analyse ablations data/shapes -o abl --epochs 12
cornernet analyse backbones data/shapes -o backbones --epochs 12
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Checkpoint = Annotated[Path, typer.Argument(help="A checkpoint (.safetensors): the analysis needs its maps.")]
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
    dataset: DatasetFolder,
    split: Split = "val",
    output: Output = Path("analyses"),
    against: Against = None,
    resize: Resize = None,
) -> None:
    """Table 5: AP at IoU 0.5 to 0.9, how tight the boxes are."""
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.benchmarks.analyses.iou import COLUMNS, ap_by_iou, iou_table
    from cornernet.engine.datasets.layouts import load_dataset
    from cornernet.trainer.deploy.open_model import open_detector

    check_output(output, "iou", inputs=[model, against])
    data = load_dataset(dataset, split)
    measured: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    for name, path in names_of(model, against).items():
        with open_detector(path, resize=resize) as detector, progress_over(data, name) as advance:
            measured[name], seen = ap_by_iou(detector, data, progress=advance)
        notes += seen
    bar_chart(measured, COLUMNS, "AP at IoU thresholds", output / "iou.png")
    settings = settings_of(dataset, split, data, resize=resize)
    finish("iou", settings, (iou_table(measured),), output, notes=tuple(dict.fromkeys(notes)))


@app.command("ground-truth")
def ground_truth(
    checkpoint: Checkpoint,
    dataset: DatasetFolder,
    split: Split = "val",
    output: Output = Path("analyses"),
    resize: Resize = None,
    device: Device = None,
) -> None:
    """Table 6: predicted maps replaced by the ground truth, through the deployed decoder."""
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.benchmarks.analyses.ground_truth import COLUMNS, ap_with_true_maps, ground_truth_table
    from cornernet.benchmarks.analyses.observe import Network
    from cornernet.engine.datasets.layouts import load_dataset

    check_output(output, "ground-truth", inputs=[checkpoint])
    data = load_dataset(dataset, split)
    network = Network.open(checkpoint, resize, device)
    with progress_over(data, checkpoint.stem) as advance:
        measured = ap_with_true_maps(network, data, progress=advance)
    bar_chart(measured, COLUMNS, "Predicted maps replaced by the ground truth", output / "ground-truth.png")
    finish("ground-truth", settings_of(dataset, split, data, resize=resize), (ground_truth_table(measured),), output)


@app.command("quadrants")
def quadrants(
    checkpoint: Checkpoint,
    dataset: DatasetFolder,
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
    from cornernet.engine.datasets.layouts import load_dataset

    check_output(output, "quadrants", inputs=[checkpoint, against])
    data = load_dataset(dataset, split)
    measured = {}
    for name, path in names_of(checkpoint, against).items():
        network = Network.open(path, resize, device)
        with progress_over(data, name) as advance:
            measured[name] = corner_map_by_quadrant(network, data, radius=radius, progress=advance)
    quadrant_chart(measured, output / "quadrants.png")
    settings = settings_of(dataset, split, data, resize=resize, radius_cells=radius)
    finish("quadrants", settings, quadrant_tables(measured), output)


@app.command("errors")
def errors(
    checkpoint: Checkpoint,
    dataset: DatasetFolder,
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
    from cornernet.engine.datasets.layouts import load_dataset

    check_output(output, "errors", ("errors", "errors-examples"), inputs=[checkpoint])
    data = load_dataset(dataset, split)
    network = Network.open(checkpoint, resize, device)
    with progress_over(data, checkpoint.stem) as advance:
        found = find_errors(network, data, threshold=threshold, progress=advance)
    error_chart(found, output / "errors.png")
    draw_errors(found, network.card.class_names, output / "errors-examples.png")
    finish("errors", settings_of(dataset, split, data, resize=resize, threshold=threshold), error_tables(found), output)


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
    check_output(output, "pictures", drawn, inputs=[checkpoint, *images])
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


app.command("ablations")(analyse_training.ablations)
app.command("backbones")(analyse_training.backbones)
