"""BMP: a fixed header, then rows, or runs."""

from __future__ import annotations

import struct

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

SIGNATURE = b"BM"
_RUN_LENGTHS = frozenset({1, 2})


def read(data: bytes) -> Header | None:
    """The header."""
    width, height, _, _, _ = _fields(data)
    return Header(abs(height), abs(width), work=3 * abs(height * width))  # a negative height means top-down


def check_complete(data: bytes, origin: str) -> None:
    """Raise ImageError if rows are missing: the decoder would allocate the picture before it finds out."""
    width, height, bits, compression, offset = _fields(data)
    needed = offset + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    # Some writers leave out the padding of the last row.
    if compression not in _RUN_LENGTHS and needed - 3 > len(data):
        raise ImageError(f"{origin}: truncated BMP: {len(data)} bytes of {needed}")


def _fields(data: bytes) -> tuple[int, int, int, int, int]:
    """(width, height, bits a pixel, compression, offset of the pixels)."""
    offset, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == 12:
        return *struct.unpack_from("<HH2xH", data, 18), 0, offset
    return *struct.unpack_from("<ii2xHI", data, 18), offset
