"""Import weights of CornerNet, CornerNet-Lite or mmdetection, from a file or from where they are published."""

import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
cornernet import CornerNet_500000.pkl -o cornernet.safetensors
cornernet import CornerNet_Squeeze_500000.pkl -o squeeze.safetensors
cornernet import CornerNet_Saccade_500000.pkl -o saccade.safetensors
# published weights: fetched once, checked by their hash before they are opened
cornernet import mmdetection/hourglass-104 -o hg104.safetensors
cornernet import --list
# trained on three classes of your own
cornernet import mine.pkl -o mine.safetensors --classes cat,dog,mouse
"""


def run(
    weights: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|NAME]",
            help="Weight file (.pkl, .pth, .pt or .safetensors; nothing in it is run), or a name of --list.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Checkpoint to write.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class names, with commas between, in the heads' order.")] = None,
    url: Annotated[str | None, typer.Option(help="Fetch the weights from here.")] = None,
    sha256: Annotated[
        str | None, typer.Option(help="What the hash of the file at --url must be; a broken download then goes on.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the published weights, and fetch nothing.")] = False,
) -> None:
    """Recognise the file by its keys and shapes, and write a checkpoint with the model card its boxes need.

    The card holds the project's colour order, mean, padding and decoder, so the exported model gives the original's
    boxes. What is fetched is kept in ~/.cache/cornernet/weights.
    """
    if show_list:
        _print_list()
        return
    if (weights is None) == (url is None):
        raise typer.BadParameter("expected one of: a weight file, a name of --list, or --url")
    if output is None:
        raise typer.BadParameter("-o: which file to write?")
    if sha256 is not None and url is None:
        raise typer.BadParameter("--sha256 belongs to --url")
    from cornernet.engine.errors import ModelError
    from cornernet.engine.printable import printable
    from cornernet.outputs import carries_card, check_outputs

    check_outputs({output: carries_card}, [weights] if weights else [])
    from cornernet.trainer.import_weights import import_checkpoint
    from cornernet.trainer.network.checkpoint import save_checkpoint

    file = _fetch(weights, url, sha256)
    network, card = import_checkpoint(file)
    if classes is not None:
        names = tuple(name.strip() for name in classes.split(","))
        if len(names) != len(card.class_names):
            raise ModelError(
                f"--classes: {len(names)} names, but {printable(file)} was trained on {len(card.class_names)} classes."
            )
        card = card.model_copy(update={"class_names": names})
    save_checkpoint(output, network, card)
    typer.echo(f"{card.source}: {card.name}, {len(card.class_names)} classes -> {printable(output)}")
    typer.echo(f"next: cornernet export {printable(output)} -o {printable(output.with_suffix('.onnx'))}")


def _print_list() -> None:
    from rich.table import Table

    from cornernet.terminal import make_console
    from cornernet.trainer.import_weights.published import PUBLISHED

    table = Table("name", "COCO AP", "bytes", "SHA-256", "licence", "file", box=None)
    for name, known in PUBLISHED.items():
        digits = known.sha256 if known.whole_hash else f"{known.sha256}... (no more is published)"
        size = "not published" if known.bytes is None else f"{known.bytes:,}"
        table.add_row(name, f"{known.ap:.1f}", size, digits, known.licence, known.url)
    console = make_console()
    console.print(table, soft_wrap=True)
    console.print(f"AP as stated in {next(iter(PUBLISHED.values())).source}", soft_wrap=True)


def _fetch(weights: str | None, url: str | None, sha256: str | None) -> Path:
    """The file itself, wherever it is."""
    from cornernet.trainer.import_weights.published import PUBLISHED, published

    if url is not None:
        return _download(url, sha256 or "", None)
    assert weights is not None
    path = Path(weights)
    if path.exists() or (weights not in PUBLISHED and (path.suffix or path.is_absolute())):
        return path  # if it is not there, the reader says so
    known = published(weights)
    return _download(known.url, known.sha256, known.bytes)


def _download(url: str, sha256: str, size: int | None) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from cornernet.engine.cache_folder import cache_folder
    from cornernet.engine.printable import printable
    from cornernet.terminal import is_terminal, make_console
    from cornernet.trainer.import_weights.resumed_download import download, sha256_of

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console, quiet = make_console(stderr=True), not is_terminal(sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=quiet) as bars:
        task = bars.add_task("download", total=size)
        path = download(
            url,
            cache_folder("weights"),
            sha256=sha256,
            size=size,
            progress=lambda there, total: bars.update(task, completed=there, total=total),
        )
    if len(sha256) < 64:
        typer.echo(f"{printable(path)}: SHA-256 {sha256_of(path)}", err=True)
    return path
