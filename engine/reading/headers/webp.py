"""WebP: one RIFF chunk with a picture, or a canvas (VP8X) with pictures on it."""

from __future__ import annotations

import struct

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

_ANIMATED = 2
_FRAME_FIELDS = 16
"""Bytes of an ANMF chunk before the chunks in it."""


def matches(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read(data: bytes) -> Header | None:
    """The header; None if the first chunk is none that can start a file.

    Costs: the lossless decoder keeps 4 bytes a pixel, transparency another 4; an animation two canvases of 4 bytes.
    """
    kind, held = data[12:16], 8
    if kind == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        held = 16 if data[20] & _ANIMATED else 8
    elif kind in (b"VP8 ", b"VP8L"):
        size = _stream_size(data, 12)
        if size is None:
            return None
        height, width = size
        held = 8 if kind == b"VP8L" else 0
    else:
        return None
    return Header(height, width, held=held * height * width, work=4 * height * width)


def check_complete(data: bytes, origin: str) -> None:
    """Raise ImageError if a chunk reaches beyond the file, or a picture beyond the canvas."""
    canvas = read(data)
    assert canvas is not None
    place, end = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while place + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, place)
        if place + 8 + length > len(data):
            raise ImageError(
                f"{origin}: truncated WebP: a chunk {kind!r} of {length} bytes at {place} in a file of "
                f"{len(data)} bytes"
            )
        size = _stream_size(data, place) if kind in (b"VP8 ", b"VP8L") else None
        if size is not None and (size[0] > canvas.height or size[1] > canvas.width):
            raise ImageError(f"{origin}: broken WebP: a picture of {size[1]}x{size[0]} pixels on a smaller canvas")
        place += 8 + (_FRAME_FIELDS if kind == b"ANMF" else length + (length & 1))  # a frame holds chunks itself


def _stream_size(data: bytes, place: int) -> tuple[int, int] | None:
    """(height, width) of the chunk VP8 or VP8L at `place`."""
    if data[place : place + 4] == b"VP8 " and data[place + 11 : place + 14] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, place + 14)
        return height & 0x3FFF, width & 0x3FFF
    if data[place : place + 4] == b"VP8L" and data[place + 8] == 0x2F:
        bits = struct.unpack_from("<I", data, place + 9)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return None
