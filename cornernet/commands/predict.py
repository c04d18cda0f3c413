"""Detect objects in pictures: annotated copies and JSON lines."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cornernet.engine.errors import OutputError
from cornernet.engine.printable import printable
from cornernet.options import (
    BatchSize,
    CanvasSize,
    DecodeMode,
    Merge,
    Mirror,
    Model,
    PrecisionName,
    ProtocolName,
    ResizeRule,
    RuntimeName,
    Scales,
    Threads,
    detector_settings,
    parse_names,
    parse_threshold,
    progress_bars,
    say_what_runs,
)

if TYPE_CHECKING:
    from cornernet.engine.detector import Detector
    from cornernet.engine.results.detections import Detections

EXAMPLES = """
cornernet predict model.onnx photos/ -o found
cornernet predict model.onnx a.jpg b.png 'more/*.jpg' -o found --threshold 0.5
# JSON lines to a pipe, no pictures
cornernet predict model.onnx photos/ --json - | head -1
# the paper's multi-scale test, mirrored views included
cornernet predict model.onnx photos/ -o found --mirror --scales 0.5,1,1.5
# whichever runtime and precision is fastest on this machine
cornernet predict model.onnx photos/ -o found --runtime auto --precision auto
"""

LISTED_ERRORS = 20

FAR = 1.5
"""A canvas this much larger or smaller than that of training, in either direction, shows objects of another size."""


def run(
    model: Model,
    images: Annotated[list[str], typer.Argument(help="Pictures, folders, globs.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for annotated pictures.")] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="File for JSON lines, - for stdout; default OUTPUT/detections.jsonl.")
    ] = None,
    batch_size: BatchSize = 8,
    threshold: Annotated[
        str | None,
        typer.Option(help="Lowest score that is kept; also per class, cat=.35,dog=.3. Default: the model's, else 0.3."),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Look for these only: cat,dog. Default: all.")] = None,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    mirror: Mirror = None,
    scales: Scales = "1",
    merge: Merge = False,
    protocol: ProtocolName = "default",
    runtime: RuntimeName = None,
    precision: PrecisionName = None,
    threads: Threads = None,
    decode: DecodeMode = "exact",
) -> None:
    """Detect in every picture. One that cannot be read is reported at the end and stops nothing.

    A JSON line holds path, index, width, height, error, and the detections best first: box x1 y1 x2 y2 [px], score,
    label, name. Exit code 1 if no picture could be used.
    """
    if output is None and json is None:
        raise typer.BadParameter("nothing to write: give --output FOLDER, --json FILE, or both")
    from cornernet.engine.reading.images import expand_sources
    from cornernet.outputs import check_outputs, json_starting_with, marked_picture, picture_names
    from cornernet.trainer.deploy.open_model import open_detector

    kept = {"score_threshold": parse_threshold(threshold), "classes": parse_names(classes)}
    settings = detector_settings(
        protocol=protocol,
        resize=resize,
        size=size,
        mirror=mirror,
        scales=scales,
        merge=merge,
        runtime=runtime,
        precision=precision,
        threads=threads,
        decode=decode,
    )
    sources = [Path(source) for source in expand_sources(images)]  # type: ignore[arg-type]
    lines = json or str((output or Path()) / "detections.jsonl")
    pictures = [] if output is None else picture_names(sources, output, marked_picture)
    check_outputs({Path(lines): json_starting_with("path")} if lines != "-" else {}, [model, *sources])
    errors: list[str] = []
    boxes = 0
    with ExitStack() as stack:
        detector = stack.enter_context(open_detector(model, **kept, **settings))
        say_what_runs(detector.backend)
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(_text_file(lines))
        bars = stack.enter_context(progress_bars())
        task = bars.add_task("detecting", total=len(sources))
        for found in detector.stream(sources, batch_size=batch_size):
            file.write(found.to_json() + "\n")
            bars.advance(task)
            boxes += len(found)
            if found.error is not None:
                errors.append(found.error)
            elif output is not None:
                _write_picture(found, pictures[found.index])
    _summarise(len(sources), boxes, errors, output, lines)
    if not boxes and (hint := unusual_canvas(detector)):
        typer.secho(f"  {hint}", fg=typer.colors.YELLOW, err=True)
    if len(errors) == len(sources):
        raise typer.Exit(1)


def _text_file(name: str) -> IO[str]:
    """A file, or stdout for '-', which stays open afterwards."""
    if name != "-":
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        return Path(name).open("w", encoding="utf-8")
    if sys.stdout is None:
        raise OutputError("--json -: the standard output is closed")
    return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)


def _write_picture(found: "Detections", path: Path) -> None:
    from cornernet.engine.reading.images import read_image
    from cornernet.engine.results.picture_file import write_picture

    if found.path is not None:
        write_picture(path, found.draw(read_image(found.path)))


def unusual_canvas(detector: "Detector") -> str:
    """Why a model may find nothing at all: a network knows objects as large as training showed them."""
    fit, trained = detector.stages.plan.fit, detector.card.train_size
    if fit is None or trained is None or max(max(a / b, b / a) for a, b in zip(fit, trained)) < FAR:
        return ""
    sizes = (f"{height}x{width}" for height, width in (trained, fit))
    return "the model was trained at {} px and ran at {} px; without --size it runs as it was trained".format(*sizes)


def _summarise(count: int, boxes: int, errors: list[str], output: Path | None, lines: str) -> None:
    places = [printable(output)] if output is not None else []
    places += [printable(lines)] if lines != "-" else []
    kept = f" -> {', '.join(places)}" if places else ""
    typer.echo(f"{boxes} objects in {count - len(errors)} of {count} pictures{kept}", err=True)
    for message in errors[:LISTED_ERRORS]:
        typer.secho(f"  {message}", fg=typer.colors.RED, err=True)
    if len(errors) > LISTED_ERRORS:
        typer.secho(f"  and {len(errors) - LISTED_ERRORS} more, see the JSON lines", fg=typer.colors.RED, err=True)
