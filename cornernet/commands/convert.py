"""Write a data set in another layout: any that is read to COCO, or to YOLO."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import DatasetFolder, one_of, progress_bars

EXAMPLES = """
cornernet convert data/voc -o data/mine
cornernet convert data/yolo/data.yaml -o data/mine --pictures link
cornernet convert data/mine -o data/yolo --to yolo --split train --split val
# a data set without a split: a fifth of its pictures becomes val
cornernet convert data/voc -o data/mine --hold-out 0.2
"""


def run(
    source: DatasetFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, or one of an earlier conversion.")],
    to: Annotated[str, typer.Option(callback=one_of("coco", "yolo"), help="coco or yolo.")] = "coco",
    pictures: Annotated[
        str, typer.Option(callback=one_of("copy", "link"), help="copy, or link to where they are.")
    ] = "copy",
    split: Annotated[
        list[str] | None, typer.Option(help="This split only; may be repeated. Default: train, val and test.")
    ] = None,
    hold_out: Annotated[
        float | None,
        typer.Option(min=0.001, max=0.999, help="Make train and val of one split: this part of its pictures is val."),
    ] = None,
) -> None:
    """Write images/<split>/ and annotations/instances_<split>.json; for YOLO labels/<split>/ and data.yaml.

    No verb needs it: all of them read these layouts as they are. Boxes that were clipped or left out on reading are so
    in what is written, and listed.
    """
    from cornernet.engine.datasets.convert_dataset import convert_dataset, held_out
    from cornernet.engine.datasets.layout import plain_names, usual_splits
    from cornernet.engine.datasets.layouts import find_dataset, load_dataset
    from cornernet.engine.scoring.problem_groups import grouped
    from cornernet.outputs import check_folder

    check_folder(output)
    found = find_dataset(source)
    wanted = plain_names(split or usual_splits(found.splits))
    if hold_out is not None and len(wanted) != 1:
        raise typer.BadParameter(f"--hold-out takes one split; name one of {', '.join(found.splits)} with --split")
    splits = {}
    with progress_bars() as bars:
        reading = bars.add_task("reading", total=len(wanted))
        for name, plain in wanted.items():
            splits[plain] = load_dataset(source, name)
            bars.advance(reading)
        for problem in (line for data in splits.values() for line in grouped(data.problems)):
            typer.echo(problem, err=True)
        if hold_out is not None:
            (whole,) = splits.values()
            splits = dict(zip(("train", "val"), held_out(whole, hold_out)))
        check_folder(output, claim=True)
        task = bars.add_task("writing", total=sum(map(len, splits.values())))
        notes = convert_dataset(
            splits,
            output,
            form=to,  # type: ignore[arg-type]
            pictures=pictures,  # type: ignore[arg-type]
            progress=lambda done: bars.advance(task, done),
        )
    if split is None and (others := [name for name in found.splits if name not in wanted]):
        notes.append(f"not written: {', '.join(map(printable, others))}; --split names splits")
    for note in notes:
        typer.echo(note, err=True)
    counts = ", ".join(f"{len(data)} {name}" for name, data in splits.items())
    objects = sum(len(sample.labels) for data in splits.values() for sample in data.samples)
    typer.echo(f"{found.layout.name}: {counts} pictures, {objects} objects -> {printable(output)}")
