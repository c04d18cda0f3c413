"""What several verbs share: sizes, lists of numbers, key=value, one word of a few, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

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


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr, so that results on stdout can be piped; nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bars:
        yield bars
