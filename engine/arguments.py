"""Arguments of public functions, checked where they come in.

A wrong argument is a programming mistake: TypeError or ValueError, which say its name, what came and what was expected.
What is wrong with a file, a picture or a machine is an exception of errors.py instead.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection
from pathlib import Path
from reprlib import Repr
from typing import Any

from cornernet.engine.printable import printable

_LONGEST_PATH = 1024
_shorten = Repr()
_shorten.maxstring = _shorten.maxother = 60


def shown(value: object) -> str:
    """`value` for a message: short, on one line, whatever it is."""
    try:
        return printable(_shorten.repr(value).replace("\n", " "))
    except Exception:  # a whole number of thousands of digits, a __repr__ that fails
        return f"a {type(value).__name__}"


def integer(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`. Raises TypeError, ValueError."""
    limits = f"a whole number from {least} to {most}" if most is not None else f"a whole number of at least {least}"
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool | bytes):
        raise TypeError(f"{name}={shown(value)}; expected {limits}")
    if whole < least or (most is not None and whole > most):
        raise ValueError(f"{name}={shown(value)}; expected {limits}")
    return whole


def number(name: str, value: Any, *, least: float, most: float, advice: str = "") -> float:
    """A number from `least` to `most`, never NaN. Raises TypeError, ValueError; `advice` ends the message."""
    expected = f"expected a number from {least:g} to {most:g}{advice}"
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
        raise TypeError(f"{name}={shown(value)}; {expected}")
    try:
        real = float(value)
    except (TypeError, ValueError, OverflowError):
        real = math.nan
    if not least <= real <= most:
        raise ValueError(f"{name}={shown(value)}; {expected}")
    return real


def choice(name: str, value: Any, options: Collection[str | None]) -> None:
    """One of a few words, or None where that is one of them. Raises ValueError."""
    if not (value is None or isinstance(value, str)) or value not in options:
        listed = ", ".join("None" if option is None else f'"{option}"' for option in options)
        raise ValueError(f"{name}={shown(value)}; expected one of {listed}")


def flag(name: str, value: Any) -> None:
    """True, False or None. Raises TypeError."""
    if value is not None and not (isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")):
        raise TypeError(f"{name}={shown(value)}; expected True, False or None")


def size(name: str, value: Any) -> tuple[int, int]:
    """(height, width) [px], both at least 1. Raises TypeError, ValueError."""
    expected = "expected (height, width) in pixels, such as (640, 640)"
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name}={shown(value)}; {expected}")
    try:
        height, width = (integer(name, side, least=1, most=2**31) for side in value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}={shown(value)}; {expected}") from None
    return height, width


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path for a message: printable, and short where somebody handed in the content of a file instead."""
    text = printable(path)
    return text if len(text) <= _LONGEST_PATH else f"{text[:60]}... ({len(text)} letters)"


def bytes_of(path: Path) -> int | None:
    """Size of a regular file; None if there is none, or none can have this name (above 255 bytes, a zero byte)."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def is_file(path: Path) -> bool:
    """True for a regular file; never an error, see `bytes_of`."""
    return bytes_of(path) is not None


def as_path(name: str, value: Any) -> Path:
    """A path of text. Raises TypeError."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name}={shown(value)}; expected a path")
    return Path(os.fsdecode(value))
