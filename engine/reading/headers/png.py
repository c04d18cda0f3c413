"""PNG: a list of chunks, of which a few make the picture."""

from __future__ import annotations

import struct

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_EXIF, _EXIF_BYTES = b"eXIf", 2**16


def read(data: bytes) -> Header | None:
    """The header; None if the first chunk is not a valid one."""
    if data[8:16] != b"\0\0\0\rIHDR":
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        return None
    row = 1 + (width * _CHANNELS[colour] * depth + 7) // 8  # one byte tells the filter
    return Header(height, width, work=row * height * (2 if interlaced and depth < 8 else 1))


def picture_only(data: bytes, origin: str) -> bytes:
    """`data` with nothing but the chunks that make the still picture and its orientation.

    The others (texts, profiles, further frames) may be compressed a thousandfold or claim gigabytes, which decoders
    allocate before they read. So every length is checked against the file, and what is not needed is left out.

    Raises:
        ImageError: a chunk longer than the file, or no IEND.
    """
    kept, place, start, exif = [], len(SIGNATURE), 0, False
    while True:
        if place + 12 > len(data):
            raise ImageError(f"{origin}: truncated PNG: {len(data)} bytes without the IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise ImageError(
                f"{origin}: truncated PNG: a chunk {kind!r} of {length} bytes at {place} in a file of {len(data)} bytes"
            )
        wanted = kind in _NEEDED or (kind == _EXIF and length <= _EXIF_BYTES and not exif)
        exif = exif or kind == _EXIF
        if not wanted:
            kept.append(data[start:place])
            start = end
        place = end
        if kind == b"IEND":
            return b"".join((*kept, data[start:place])) if kept or place < len(data) else data
