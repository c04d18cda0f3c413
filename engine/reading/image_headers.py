"""Width and height from the first bytes of an image file, so that a bomb is refused before anything is decoded.

OpenCV tells the size only after decoding. These parsers read what the formats' specifications put into the header and
nothing else; an unknown or broken header gives None.
"""

from __future__ import annotations

import re
import struct

from cornernet.engine.errors import ImageError

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def size_from_header(data: bytes) -> tuple[int, int] | None:
    """(height, width) [px] as stored (before EXIF rotation), or None if no known format or a broken header."""
    try:
        for matches, parse in (
            (data.startswith(b"\xff\xd8\xff"), _jpeg_size),
            (data.startswith(_PNG_SIGNATURE), _png_size),
            (data.startswith(b"BM"), _bmp_size),
            (data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp_size),
            (data.startswith((b"II*\0", b"MM\0*")), _tiff_size),
            (data.startswith((b"GIF87a", b"GIF89a")), _gif_size),
            (re.match(rb"P[1-6]\s", data) is not None, _pnm_size),
        ):
            if matches:
                return parse(data)
    except (struct.error, IndexError):
        return None
    return None


def check_complete(data: bytes, origin: str) -> None:
    """Raise ImageError if a JPEG or PNG ends early: decoders may fill the missing part with grey and say nothing."""
    if data.startswith(b"\xff\xd8\xff"):
        scan = next((place for marker, place in _jpeg_segments(data) if marker == _START_OF_SCAN), None)
        # Inside a scan 0xFF is always followed by 0 or a restart marker, so this pair can only be the end of the image.
        if scan is None or data.find(b"\xff\xd9", scan) < 0:
            raise ImageError(f"{origin}: truncated JPEG: {len(data)} bytes without the end-of-image marker")
    elif data.startswith(_PNG_SIGNATURE) and data.rfind(b"IEND\xae\x42\x60\x82") < 0:
        raise ImageError(f"{origin}: truncated PNG: {len(data)} bytes without the IEND chunk")


def _jpeg_segments(data: bytes):
    """(marker, position of its payload) of each segment up to and including the first scan."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        yield marker, place + 4
        if marker == _START_OF_SCAN:
            return
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, place in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, place + 1)
            return height, width
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    header_bytes = struct.unpack_from("<I", data, 14)[0]
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)  # a negative height means top-down
    return abs(height), abs(width)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data[:2] == b"II" else ">"
    directory = struct.unpack_from(order + "I", data, 4)[0]
    sizes = {}
    for entry in range(struct.unpack_from(order + "H", data, directory)[0]):
        place = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in (256, 257):  # ImageWidth, ImageLength: SHORT or LONG
            sizes[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 8)[0]
    return (sizes[257], sizes[256]) if len(sizes) == 2 else None


def _gif_size(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    header = re.match(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s", data[:4096])
    return (int(header[2]), int(header[1])) if header else None
