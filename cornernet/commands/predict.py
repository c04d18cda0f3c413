"""Detect objects in pictures: annotated copies and JSON lines."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from cornernet.options import MERGE_EXPONENT, one_of, parse_numbers, parse_size, progress_bars

if TYPE_CHECKING:
    from cornernet.engine.results.detections import Detections

EXAMPLES = """
cornernet predict model.onnx photos/ -o found
cornernet predict model.onnx a.jpg b.png 'more/*.jpg' -o found --threshold 0.5
# JSON lines to a pipe, no pictures
cornernet predict model.onnx photos/ --json - | head -1
# the paper's multi-scale test, mirrored views included
cornernet predict model.onnx photos/ -o found --mirror --scales 0.5,1,1.5
"""

LISTED_ERRORS = 20


def run(
    model: Annotated[Path, typer.Argument(help=".onnx, .engine, or a .safetensors checkpoint (needs torch).")],
    images: Annotated[list[str], typer.Argument(help="Pictures, folders, globs.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for annotated pictures.")] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="File for JSON lines, - for stdout; default OUTPUT/detections.jsonl.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures the model gets at once.")] = 8,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Lowest score that is kept.")] = 0.5,
    resize: Annotated[
        str | None,
        typer.Option(
            callback=one_of("original", "fit"),
            help="original: keep the resolution. fit: scale to one canvas. Default: fit if the training size is known.",
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(help="Canvas for fit, HEIGHTxWIDTH [px].")] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Run the mirrored view too and merge.")] = False,
    scales: Annotated[str, typer.Option(help="Run at these scales and join what was found.")] = "1",
    merge: Annotated[
        bool, typer.Option("--merge", help="Average each box with those it suppresses (official multi-scale test).")
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(callback=one_of("default", "official", "mmdetection"), help="default, official or mmdetection."),
    ] = "default",
) -> None:
    """Detect in every picture. One that cannot be read is reported at the end and stops nothing.

    A JSON line holds path, index, width, height, error, and the detections best first: box x1 y1 x2 y2 [px], score,
    label, name. Exit code 1 if no picture could be used.
    """
    if output is None and json is None:
        raise typer.BadParameter("nothing to write: give --output FOLDER, --json FILE, or both")
    from cornernet.engine.reading.images import expand_sources
    from cornernet.trainer.deploy.open_model import open_detector

    sources = list(expand_sources(images))
    lines = json or str((output or Path()) / "detections.jsonl")
    errors: list[str] = []
    boxes = 0
    with ExitStack() as stack:
        detector = stack.enter_context(
            open_detector(
                model,
                resize=resize,
                size=parse_size(size),
                protocol=protocol,
                scales=parse_numbers(scales, float, "scales"),
                merge_exponent=MERGE_EXPONENT if merge else None,
                mirror=mirror or None,
                score_threshold=threshold,
            )
        )
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(_text_file(lines))
        bars = stack.enter_context(progress_bars())
        task = bars.add_task("detecting", total=len(sources))
        taken: set[str] = set()
        for found in detector.stream(sources, batch_size=batch_size, prefetch=2 * batch_size):
            file.write(found.to_json() + "\n")
            bars.advance(task)
            boxes += len(found)
            if found.error is not None:
                errors.append(found.error)
            elif output is not None:
                _write_picture(found, output / _free_name(str(found.path), taken))
    _summarise(len(sources), boxes, errors, output, lines)
    if len(errors) == len(sources):
        raise typer.Exit(1)


def _text_file(name: str) -> IO[str]:
    """A file, or stdout for '-', which stays open afterwards."""
    if name == "-":
        return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return Path(name).open("w", encoding="utf-8")


def _free_name(source: str, taken: set[str]) -> str:
    """A file name for the annotated copy; pictures of one name from several folders get numbers."""
    stem = Path(source).stem
    name, number = f"{stem}.jpg", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.jpg"
    taken.add(name)
    return name


def _write_picture(found: "Detections", path: Path) -> None:
    import cv2

    from cornernet.engine.reading.images import read_image

    assert found.path is not None
    encoded = cv2.imencode(".jpg", found.draw(read_image(found.path)), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    path.write_bytes(encoded.tobytes())


def _summarise(count: int, boxes: int, errors: list[str], output: Path | None, lines: str) -> None:
    places = [str(output)] * (output is not None) + [lines] * (lines != "-")
    kept = f" -> {', '.join(places)}" if places else ""
    typer.echo(f"{boxes} objects in {count - len(errors)} of {count} pictures{kept}", err=True)
    for message in errors[:LISTED_ERRORS]:
        typer.secho(f"  {message}", fg=typer.colors.RED, err=True)
    if len(errors) > LISTED_ERRORS:
        typer.secho(f"  and {len(errors) - LISTED_ERRORS} more, see the JSON lines", fg=typer.colors.RED, err=True)
