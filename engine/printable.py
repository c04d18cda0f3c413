"""A path as text that can be printed, logged and written as UTF-8 anywhere."""

from __future__ import annotations

import os
import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Controls, which can move a terminal's cursor or break a line, and lone surrogates, which UTF-8 cannot hold."""


def printable(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    r"""`path` for people: bytes that are not UTF-8 and control characters become `\xe9`, `\n`, ...; the rest stays.

    A file name is bytes. Python gives those that are not UTF-8 as lone surrogates, which no UTF-8 file or terminal
    takes: one such name would end a whole run at its first message. Open files with the path itself, never with this.
    """
    return _UNSAFE.sub(_escape, os.fsdecode(path))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how os.fsdecode hides the byte code - 0xDC00
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode("ascii")
