"""Do the whole job once on drawn pictures: train, export, predict, evaluate, benchmark, report."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable

EXAMPLES = """
cornernet quickstart
# a quick look at the whole chain; the model will not be good
cornernet quickstart -o glance --train-images 60 --test-images 12 --epochs 2 --repeats 3
"""


def run(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that is made.")] = Path(
        "quickstart"
    ),
    train_images: Annotated[int, typer.Option(min=16, help="Pictures to train on.")] = 3000,
    test_images: Annotated[int, typer.Option(min=4, help="Pictures kept aside to test on.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training pictures.")] = 12,
    repeats: Annotated[int, typer.Option(min=1, help="Timed batches in the benchmark.")] = 20,
) -> None:
    """Draw shapes, train the tiny network, export it, check it against torch, predict, evaluate, benchmark, report.

    Minutes on two cores. Leaves the model, pictures of what it found, plots, the latency table and a page with it all.
    """
    from cornernet.quickstart import quickstart
    from cornernet.terminal import make_console

    report = quickstart(
        output,
        train_images=train_images,
        test_images=test_images,
        epochs=epochs,
        repeats=repeats,
        say=lambda line: typer.echo(line),
    )
    report.benchmark.print(make_console())
    typer.echo(f"\ndone in {report.seconds / 60:.1f} minutes. Look at:")
    for name in ("report.html", "predictions.png", "run/losses.png", "run/ap.png", "benchmark.png"):
        typer.echo(f"  {printable(output / name)}")
    model, pictures = printable(output / "model.onnx"), printable(output / "shapes" / "images")
    typer.echo(f"Your turn: cornernet predict {model} {pictures} -o found")
