"""Those of the paper's analyses that train networks of their own: `cornernet analyse ablations` and `backbones`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cornernet.analysis_output import check_output, finish, settings_of
from cornernet.options import DatasetFolder, parse_assignment, parse_size

Runs = Annotated[Path, typer.Option("--output", "-o", help="Folder for the runs, the JSON and the picture.")]
Seeds = Annotated[list[int] | None, typer.Option(help="Several seeds show how much is noise; may be repeated.")]
Size = Annotated[str | None, typer.Option(help="Training canvas, HEIGHTxWIDTH [px].")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.")]
BatchSize = Annotated[int | None, typer.Option(help="Images per optimiser step.")]
TrainSplit = Annotated[str, typer.Option(help="Split to train on.")]
Split = Annotated[str, typer.Option(help="Split to measure on.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one.")]


def ablations(
    dataset: DatasetFolder,
    output: Runs,
    only: Annotated[list[str] | None, typer.Option(help="These ablations only; may be repeated.")] = None,
    seed: Seeds = None,
    preset: Annotated[str | None, typer.Option(help="hourglass-104, squeeze or tiny.")] = None,
    size: Size = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any field, as key=value; may be repeated.")] = None,
    train_split: TrainSplit = "train",
    split: Split = "val",
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
    from cornernet.engine.datasets.layouts import load_dataset

    overrides: dict[str, Any] = {"preset": preset, "size": parse_size(size), "epochs": epochs}
    overrides |= {"batch_size": batch_size, **dict(parse_assignment(text) for text in set_ or [])}
    names = only or list(ABLATIONS)
    if unknown := sorted(set(names) - set(ABLATIONS)):
        raise typer.BadParameter(f"there is no ablation '{unknown[0]}'; choose of {', '.join(ABLATIONS)}")
    check_output(output, "ablations", inputs=[])
    config = ablation_config("full", **overrides)
    train_data, val_data = load_dataset(dataset, train_split), load_dataset(dataset, split)
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
    settings = settings_of(
        dataset, split, val_data, train_images=len(train_data.samples), steps=runs[0].steps, **budget
    )
    finish("ablations", settings, tables, output)


def backbones(
    dataset: DatasetFolder,
    output: Runs,
    only: Annotated[list[str] | None, typer.Option(help="These rows only; may be repeated.")] = None,
    seed: Seeds = None,
    hourglass: Annotated[str | None, typer.Option(help="Preset of the hourglass; default: tiny.")] = None,
    pyramid: Annotated[str | None, typer.Option(help="Preset of the pyramid; default: fpn-tiny.")] = None,
    size: Size = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    train_split: TrainSplit = "train",
    split: Split = "val",
    device: Device = None,
) -> None:
    """Table 4: a pyramid with corners, the hourglass with anchors, the hourglass with corners.

    One configuration file each (benchmarks/backbones), the options on top of all of them. Runs that are complete in the
    output folder are not trained again.
    """
    from cornernet.benchmarks.analyses.analysis_charts import bar_chart
    from cornernet.benchmarks.analyses.compared_backbones import (
        COLUMNS,
        ROWS,
        backbone_config,
        backbone_means,
        backbone_table,
        run_rows,
    )
    from cornernet.engine.datasets.layouts import load_dataset

    rows = only or list(ROWS)
    if unknown := sorted(set(rows) - set(ROWS)):
        raise typer.BadParameter(f"there is no row '{unknown[0]}'; choose of {', '.join(ROWS)}")
    check_output(output, "backbones", inputs=[])
    overrides: dict[str, Any] = {"size": parse_size(size), "epochs": epochs, "batch_size": batch_size}
    config = backbone_config("hourglass_corners", preset=hourglass, **overrides)
    train_data, val_data = load_dataset(dataset, train_split), load_dataset(dataset, split)
    runs = run_rows(
        rows,
        seed or [config.seed],
        train_data,
        val_data,
        output,
        presets={"hourglass": hourglass, "pyramid": pyramid},
        device=device,
        finished=lambda run: typer.echo(f"{run.row}, seed {run.seed}: AP {100 * run.stats['AP']:.1f}"),
        **overrides,
    )
    bar_chart(backbone_means(runs), COLUMNS, "Backbone and anchors", output / "backbones.png")
    budget = config.model_dump(mode="json", include={"size", "epochs", "batch_size", "learning_rate"})
    settings = settings_of(
        dataset, split, val_data, train_images=len(train_data.samples), steps=runs[0].steps, **budget
    )
    finish("backbones", settings, (backbone_table(runs),), output)
