"""WebP: one RIFF chunk with a picture, or a canvas (VP8X) with pictures on it."""

from __future__ import annotations

import struct

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

_ANIMATED, _TRANSPARENT = 0x02, 0x10
_FRAME_FIELDS = 16
"""Bytes of an ANMF chunk before the chunks in it."""
_MOST_GROUPS, _GROUP_BYTES, _GROUP_FILE_BYTES, _GROUP_PIXELS = 2**16, 6144, 5, 16
"""Groups of Huffman codes in a lossless picture: what one takes in memory, and at least in the file and the picture."""


def matches(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def read(data: bytes) -> Header | None:
    """The header; None if the first chunk is none that can start a file.

    Costs: a lossless picture takes 4 bytes a pixel more, and its groups of codes, of which encoders use few and hostile
    files many; transparency takes another 4 bytes a pixel, an animation two canvases of 4.
    """
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        transparent, animated = bool(data[20] & _TRANSPARENT), bool(data[20] & _ANIMATED)
    elif kind in (b"VP8 ", b"VP8L"):
        size = _stream_size(data, 12)
        if size is None:
            return None
        height, width = size
        transparent, animated = kind == b"VP8L" and bool(data[24] & _TRANSPARENT), False
    else:
        return None
    pixels, lossless = height * width, b"VP8L" in data or b"ALPH" in data
    groups = min(_MOST_GROUPS, len(data) // _GROUP_FILE_BYTES, pixels // _GROUP_PIXELS) if lossless else 0
    held = (4 * lossless + 4 * transparent + 8 * animated) * pixels + _GROUP_BYTES * groups
    return Header(height, width, held=held, work=4 * pixels)


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
