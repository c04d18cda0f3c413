"""Train a network on a data set: COCO, YOLO, Pascal VOC."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from cornernet.options import DatasetFolder, one_of, parse_assignment, parse_size

EXAMPLES = """
cornernet train data/shapes -o runs/shapes --preset tiny --size 128x128 --epochs 30
cornernet train data/shapes -o runs/shapes --preset tiny --size 128x128 --epochs 30 --resume
cornernet train data/mine -o runs/mine --config experiment.toml --set ema_decay=0.999 --init coco.safetensors
# a CornerNet-Saccade learns from crops, on the canvas it is made for
cornernet train data/sizes -o runs/saccade --preset saccade-tiny --epochs 30
# end when ten validations bring nothing better; watch with tensorboard --logdir runs
cornernet train data/mine -o runs/mine --epochs 500 --patience 10 --log tensorboard
# several GPUs, or several processes on one CPU
torchrun --nproc-per-node 2 -m cornernet train data/shapes -o runs/shapes2 --preset tiny --size 128x128
"""


def run(
    dataset: DatasetFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run directory: checkpoints, metrics, pictures.")],
    preset: Annotated[str | None, typer.Option(help="hourglass-104, squeeze, tiny, saccade or saccade-tiny.")] = None,
    size: Annotated[str | None, typer.Option(help="Training canvas, HEIGHTxWIDTH [px].")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per optimiser step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's rate before the schedule lowers it.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16 autocast.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same run.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare batches; default: on a GPU as many as help.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any field of the training configuration.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any field, as key=value; may be repeated.")] = None,
    train_split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    val_split: Annotated[str, typer.Option(help="Split to validate on; 'none' for no validation.")] = "val",
    init: Annotated[
        Path | None, typer.Option(help="Start from the weights of this checkpoint, with its network and colours.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End after so many validations without a better AP; default: never.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(callback=one_of("tensorboard", "wandb", "mlflow"), help="Show the numbers there too.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the interrupted run in the run directory.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one.")] = None,
) -> None:
    """Train, validating through the deployed decoder and post-processing.

    Leaves in the run directory last.pt (to resume), last.safetensors and best.safetensors (to export),
    metrics.jsonl, losses.png, ap.png and predictions.png. Ctrl-C writes a checkpoint first.
    """
    from cornernet.engine.datasets.layouts import load_dataset
    from cornernet.engine.printable import printable
    from cornernet.engine.scoring.problem_groups import grouped
    from cornernet.engine.survey.survey import survey
    from cornernet.outputs import anything, check_outputs
    from cornernet.trainer.loop.config import TrainConfig
    from cornernet.trainer.loop.distributed import is_main_process
    from cornernet.trainer.loop.logs.open_log import open_log
    from cornernet.trainer.loop.train import train

    values: dict[str, Any] = {
        "preset": preset,
        "size": parse_size(size),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
        "workers": workers,
        "patience": patience,
    }
    values.update(parse_assignment(text) for text in set_ or [])
    settings = TrainConfig.read(config, **values)
    if not resume:  # a new run writes over the checkpoints that lie in its folder
        names = ("last.pt", "last.safetensors", "best.safetensors")
        check_outputs({output / name: anything for name in names}, [path for path in (init, config) if path])
    train_data = load_dataset(dataset, train_split)
    val_data = None if val_split == "none" else load_dataset(dataset, val_split)
    # Of several processes one speaks.
    say = typer.echo if is_main_process() else lambda *text, **where: None
    for data in filter(None, (train_data, val_data)):
        for problem in grouped(data.problems):
            say(problem, err=True)
    if is_main_process():
        splits = {name: data for name, data in ((train_split, train_data), (val_split, val_data)) if data is not None}
        shown = survey(splits, size=settings.size, resize=settings.augment.resize, with_problems=False)
        typer.echo("\n".join(shown.lines()), err=True)
    settings_by_name = settings.model_dump(mode="json")
    with open_log(log, output, settings_by_name) if log and is_main_process() else nullcontext() as on_metrics:
        report = train(settings, train_data, val_data, output, resume=resume, init=init, device=device,
                       on_metrics=on_metrics)  # fmt: skip
    if report.interrupted:
        say(f"interrupted after {report.steps} steps; continue with the same command and --resume", err=True)
        raise typer.Exit(130)
    early = f", no better AP in {settings.patience} validations" if report.stopped_early else ""
    best = f", best validation AP {report.best_ap:.3f}" if val_data is not None else ""
    steps = "1 step" if report.steps == 1 else f"{report.steps} steps"
    say(f"{steps}{early}{best}; weights and pictures: {printable(report.output)}")
