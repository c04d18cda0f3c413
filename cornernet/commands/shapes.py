"""Generate a data set of drawn shapes, so that nothing needs a download."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.options import parse_size

EXAMPLES = """
cornernet shapes data/shapes
cornernet shapes data/shapes --train 300 --val 60 --test 60 --size 192x256 --seed 7
"""


def run(
    folder: Annotated[Path, typer.Argument(help="Gets images/ and annotations/instances_<split>.json.")],
    train: Annotated[int, typer.Option(help="Pictures to train on.")] = 600,
    val: Annotated[int, typer.Option(help="Pictures to validate on.")] = 100,
    test: Annotated[int, typer.Option(help="Pictures kept aside.")] = 0,
    size: Annotated[str, typer.Option(help="Largest picture, HEIGHTxWIDTH [px].")] = "160x160",
    vary: Annotated[float, typer.Option(help="Sides differ by up to this fraction.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Same arguments, same pictures.")] = 0,
) -> None:
    """Draw rectangles, ellipses and triangles, small to large and overlapping, with boxes in COCO format."""
    from cornernet.trainer.data.shapes import generate_shapes

    sides = parse_size(size)
    assert sides is not None
    generate_shapes(folder, train=train, val=val, test=test, seed=seed, size=sides, vary=vary)
    counts = ", ".join(f"{count} {name}" for name, count in (("train", train), ("val", val), ("test", test)) if count)
    typer.echo(f"{folder}: {counts} pictures")
