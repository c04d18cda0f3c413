"""What several verbs share: sizes, lists of numbers, key=value, one word of a few, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cornernet.terminal import is_terminal, make_console

if TYPE_CHECKING:
    from rich.progress import Progress

Number = TypeVar("Number", int, float)

MERGE_EXPONENT = 10
"""`weight_exp` of the official multi-scale configuration."""

PROTOCOLS = ("default", "official", "mmdetection")
"""Names of engine/protocol.py, written again because help must not import the engine; a test compares them."""


def parse_size(text: str | None) -> tuple[int, int] | None:
    """'HEIGHTxWIDTH' [px] -> (height, width). Raises BadParameter (exit code 2)."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise typer.BadParameter(f"size is {text!r}; expected HEIGHTxWIDTH in pixels, such as 384x512")
    return int(height), int(width)


def parse_numbers(text: str, kind: Callable[[str], Number], name: str) -> tuple[Number, ...]:
    """'1,2,4' -> (1, 2, 4), all above 0. Raises BadParameter (exit code 2)."""
    try:
        numbers = tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{name} is {text!r}; expected numbers with commas between them") from error
    if not all(0 < number < float("inf") for number in numbers):
        raise typer.BadParameter(f"{name} is {text!r}; expected numbers above 0")
    return numbers


def parse_assignment(text: str) -> tuple[str, Any]:
    """key=value with a TOML value; a bare word is taken as a string."""
    import tomllib

    key, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"--set {text!r}: expected key=value, such as learning_rate=0.001")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def one_of(*words: str) -> Callable[[str | None], str | None]:
    """A callback for `typer.Option`: the value must be one of `words`, or not given."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(words)}")
        return value

    return check


Model = Annotated[Path, typer.Argument(help=".onnx, .engine, or a .safetensors checkpoint (needs torch).")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures the model gets at once.")]
ResizeRule = Annotated[
    str | None,
    typer.Option(
        callback=one_of("original", "fit"),
        help="original: keep the resolution. fit: scale to one canvas. Default: fit if --size is given, or if the "
        "training size is known and the protocol is default; original with the other protocols.",
    ),
]
CanvasSize = Annotated[str | None, typer.Option(help="Canvas for fit, HEIGHTxWIDTH [px].")]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror", help="Run the mirrored view too and merge. Default: as the protocol (official: yes)."
    ),
]
Scales = Annotated[str, typer.Option(help="Run at these scales and join what was found.")]
Merge = Annotated[
    bool, typer.Option("--merge", help="Average each box with those it suppresses (official multi-scale test).")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; default: what the model's runtime chooses.")]
ProtocolName = Annotated[str, typer.Option(callback=one_of(*PROTOCOLS), help="default, official or mmdetection.")]


def detector_settings(
    *, protocol: str, resize: str | None, size: str | None, mirror: bool | None, scales: str, merge: bool
) -> dict[str, Any]:
    """The shared options as arguments of `Detector`. Raises BadParameter (exit code 2)."""
    return {
        "protocol": protocol,
        "mirror": mirror,
        "scales": parse_numbers(scales, float, "scales"),
        "merge_exponent": MERGE_EXPONENT if merge else None,
        "size": parse_size(size),
        "resize": resize,
    }


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr, so that results on stdout can be piped; nothing where stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = make_console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not is_terminal(sys.stderr)) as bars:
        yield bars
