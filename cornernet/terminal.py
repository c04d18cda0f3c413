"""What is printed stays text: no name is read as markup, none is too strange to print, a closed stream is no error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def prepare_streams() -> None:
    r"""Let stdout and stderr take any text, and keep closed ones from being given away.

    What an encoding does not have (a lone surrogate in a file or class name, an umlaut where the locale is C) is
    printed as \xe9 instead of ending the run. The numbers 0 to 2 of streams that were closed are occupied: the next
    file opened would get them, and libraries that write to stderr would write into it.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def make_console(*, stderr: bool = False) -> Console:
    """The one console of the verbs: strings, table cells too, are shown as they are."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def is_terminal(stream: object) -> bool:
    """False too for a stream that was closed before the start (None)."""
    return stream is not None and bool(getattr(stream, "isatty", lambda: False)())
