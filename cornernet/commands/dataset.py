"""Look at a data set before training on it: balance, sizes of boxes, warnings, sample pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cornernet.engine.printable import printable
from cornernet.options import DatasetFolder, parse_size, progress_bars

if TYPE_CHECKING:
    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.scoring.coco import CocoDataset
    from cornernet.engine.survey.survey import Survey
    from cornernet.trainer.loop.config import TrainConfig

EXAMPLES = """
cornernet dataset data/mine --size 384x512
cornernet dataset data/yolo -o reports/mine
cornernet dataset data/voc --model model.onnx --split test
"""

SHOWN_CLASSES = 30


def run(
    dataset: DatasetFolder,
    size: Annotated[str | None, typer.Option(help="Canvas, HEIGHTxWIDTH or one side [px]; default 511.")] = None,
    model: Annotated[Path | None, typer.Option(help="Take the canvas and the colours of this model.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of a training: its canvas and augmentation.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for dataset.html, dataset.json and the pictures.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="This split only; may be repeated. Default: train, val and test.")
    ] = None,
    read: Annotated[
        bool, typer.Option("--read/--no-read", help="Decode every picture, to find those that cannot be used.")
    ] = True,
) -> None:
    """Count pictures, objects and sizes of boxes as the canvas shows them, and warn of what spoils a training.

    With -o also a page, dataset.html, the same as JSON, and two sheets: samples.jpg as they are annotated,
    augmented.jpg as training sees them.
    """
    from cornernet.engine.datasets.layout import usual_splits
    from cornernet.engine.datasets.layouts import find_dataset, load_dataset
    from cornernet.engine.survey.survey import survey
    from cornernet.engine.survey.unusable_pictures import unusable_pictures
    from cornernet.outputs import check_outputs

    if output is not None:
        check_outputs(_files(output), [model] if model is not None else [])
    found = find_dataset(dataset)
    card = _card_of(model) if model is not None else None
    settings = _settings(config, parse_size(size), card)
    splits: dict[str, CocoDataset] = {}
    with progress_bars() as bars:
        wanted = split or usual_splits(found.splits)
        task = bars.add_task("reading annotations", total=len(wanted))
        for name in wanted:
            splits[name] = load_dataset(dataset, name)
            bars.advance(task)
        samples = [sample for data in splits.values() for sample in data.samples] if read else []
        task = bars.add_task("reading pictures", total=len(samples))
        unusable = unusable_pictures(samples, lambda done: bars.advance(task, done))
    report = survey(
        splits,
        size=settings.size,
        resize=settings.augment.resize,
        dataset=printable(dataset.resolve().name),
        layout=found.layout.name,
        unusable=unusable,
    )
    _print(report)
    if output is not None:
        _write(report, next(iter(splits.values())), settings, card, output)


def _files(output: Path) -> dict[Path, Any]:
    """What is written, and how to know one of our own."""
    from cornernet.engine.survey.survey_page import MARK
    from cornernet.outputs import json_starting_with, marked_picture

    def marked_page(path: Path) -> bool:
        with path.open("rb") as file:
            return MARK.encode() in file.read(200)

    pictures = {output / name: marked_picture for name in ("samples.jpg", "augmented.jpg")}
    return {output / "dataset.html": marked_page, output / "dataset.json": json_starting_with("dataset"), **pictures}


def _card_of(model: Path) -> ModelCard:
    from cornernet.trainer.deploy.open_model import open_model

    backend = open_model(model)
    try:
        return backend.card
    finally:
        backend.close()


def _settings(config: Path | None, size: tuple[int, int] | None, card: ModelCard | None) -> TrainConfig:
    """The canvas: --size, else the file's, else the model's, else that of a training."""
    from cornernet.trainer.loop.config import TrainConfig

    settings = TrainConfig.read(config, size=size)
    if size is None and card is not None and "size" not in settings.model_fields_set:
        if card.train_size is None:
            raise typer.BadParameter("the model does not say at which size it was trained: give --size")
        return settings.model_copy(update={"size": card.train_size})
    return settings


def _print(report: Survey) -> None:
    from rich.table import Table

    from cornernet.engine.survey.survey_page import class_rows, overview_cells
    from cornernet.terminal import make_console

    console = make_console()
    layout: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
    table = Table(**layout)
    table.add_column("split", no_wrap=True)
    for head in ("pictures", "objects", "empty", "crowds", "most", "smallest, median, largest [px]"):
        table.add_column(head, justify="right")
    for name, counts in report.splits.items():
        table.add_row(name, *overview_cells(counts))
    console.print(f"{report.dataset}: {report.layout}; boxes on a canvas of {report.size[0]}x{report.size[1]} px")
    console.print(table)
    console.print()
    classes = class_rows(report)
    sections = (
        ("class", classes[:SHOWN_CLASSES]),
        ("side [px]", _counted(report, "sides")),
        ("width : height", _counted(report, "aspects")),
    )
    for head, rows in sections:
        table = Table(**layout)
        table.add_column(head, no_wrap=True)
        for name in report.splits:
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*row)
        if head == "class" and len(classes) > SHOWN_CLASSES:
            table.add_row(f"and {len(classes) - SHOWN_CLASSES} more")
        console.print(table)
        console.print()
    for line in report.warnings:
        console.print(f"warning: {line}", style="yellow")


def _counted(report: Survey, what: str) -> list[list[str]]:
    """A row a bucket: objects in each split, and their part."""
    columns = [getattr(counts, what) for counts in report.splits.values()]
    return [
        [name, *(f"{column[name]} ({column[name] / max(1, sum(column.values())):.1%})" for column in columns)]
        for name in columns[0]
    ]


def _write(report: Survey, data: CocoDataset, settings: TrainConfig, card: ModelCard | None, output: Path) -> None:
    """Sheets of the first split, the numbers, and the page with all of it."""
    import json

    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.results.picture_file import write_picture
    from cornernet.engine.survey.survey_page import survey_page
    from cornernet.outputs import write_text
    from cornernet.trainer.data.sample_sheets import annotated_sheet, augmented_sheet

    first = next(iter(report.splits))
    card = card or ModelCard(name="training", class_names=data.class_names, category_ids=data.category_ids)
    height, width = settings.size
    views = augmented_sheet(
        data.samples, data.class_names, card, size=settings.size, config=settings.augment, seed=settings.seed
    )
    sheets = {
        "samples.jpg": (f"Samples of {first}", annotated_sheet(data.samples, data.class_names)),
        "augmented.jpg": (f"What training sees of {first}, at {height}x{width} px", views),
    }
    shown: dict[str, bytes] = {}
    for name, (title, sheet) in sheets.items():
        if sheet is not None:
            write_picture(output / name, sheet)
            shown[title] = (output / name).read_bytes()
    write_text(output / "dataset.json", json.dumps(report.to_dict(), indent=1) + "\n")
    write_text(output / "dataset.html", survey_page(report, shown))
    typer.echo(
        f"-> {printable(output / 'dataset.html')}, and beside it {', '.join(('dataset.json', *sheets))}", err=True
    )
