"""PNM (PBM, PGM, PPM): numbers in text, then samples in text or bytes."""

from __future__ import annotations

import re

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_FIELDS = re.compile(rb"P([1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?:" + _GAP + rb"(\d{1,5}))?\s")
_HEADER_BYTES = 4096


def matches(data: bytes) -> bool:
    return re.match(rb"P[1-6]\s", data) is not None


def read(data: bytes) -> Header | None:
    """The header; None if its numbers are not there."""
    fields = _FIELDS.match(data[:_HEADER_BYTES])
    if fields is None:
        return None
    height, width = int(fields[3]), int(fields[2])
    return Header(height, width, work=3 * height * width)


def check_complete(data: bytes, origin: str) -> None:
    """Raise ImageError if samples are missing: the decoder would allocate the picture before it finds out."""
    fields = _FIELDS.match(data[:_HEADER_BYTES])
    assert fields is not None
    kind, width, height = int(fields[1]), int(fields[2]), int(fields[3])
    per_pixel = 3 if kind in (3, 6) else 1
    if kind == 4:
        needed = (width + 7) // 8 * height
    elif kind == 1:
        needed = width * height
    elif kind in (2, 3):  # a digit and a space, but for the last
        needed = 2 * width * height * per_pixel - 1
    else:
        needed = width * height * per_pixel * (2 if int(fields[4] or 255) > 255 else 1)
    start = fields.end(3) + 1 if kind in (1, 4) else fields.end()
    if len(data) - start < needed:
        raise ImageError(f"{origin}: truncated PNM: {len(data)} bytes of {start + needed}")
