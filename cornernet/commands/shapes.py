"""Generate a data set of drawn shapes, so that nothing needs a download."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.options import parse_numbers, parse_size

EXAMPLES = """
cornernet shapes data/shapes
cornernet shapes data/shapes --train 300 --val 60 --test 60 --size 192x256 --seed 7
# objects of very different sizes
cornernet shapes data/sizes --train 300 --val 60 --size 512x512 --vary 0.1 --objects 8,300
"""


def run(
    folder: Annotated[Path, typer.Argument(help="Gets images/ and annotations/instances_<split>.json.")],
    train: Annotated[int, typer.Option(help="Pictures to train on.")] = 600,
    val: Annotated[int, typer.Option(help="Pictures to validate on.")] = 100,
    test: Annotated[int, typer.Option(help="Pictures kept aside.")] = 0,
    size: Annotated[str, typer.Option(help="Largest picture, HEIGHTxWIDTH [px].")] = "160x160",
    vary: Annotated[float, typer.Option(help="Sides differ by up to this fraction.")] = 0.25,
    objects: Annotated[
        str | None, typer.Option(help="Smallest and largest side of an object [px]; default: parts of each picture.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same arguments, same pictures.")] = 0,
) -> None:
    """Draw rectangles, ellipses and triangles, small to large and overlapping, with boxes in COCO format."""
    from cornernet.trainer.data.shapes import generate_shapes

    sides = parse_size(size)
    assert sides is not None
    lengths = parse_numbers(objects, float, "objects") if objects else None
    if lengths is not None and len(lengths) != 2:
        raise typer.BadParameter(f"objects is {objects!r}; expected two lengths [px], such as 8,300")
    generate_shapes(
        folder, train=train, val=val, test=test, seed=seed, size=sides, vary=vary,
        objects=(lengths[0], lengths[1]) if lengths else None,
    )  # fmt: skip
    counts = ", ".join(f"{count} {name}" for name, count in (("train", train), ("val", val), ("test", test)) if count)
    typer.echo(f"{folder}: {counts} pictures")
