"""TIFF: a directory of tags that say where strips or tiles lie. Only the first directory is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cornernet.engine.reading.headers.header import Header

SIGNATURES = (b"II*\0", b"MM\0*")
_TYPES = {1: "B", 3: "H", 4: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES = 273, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_READ = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES}
    | {_PLANES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES}
)
_JPEG = frozenset({6, 7})
_QUICK_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946})
_WORK_PER_STRIP, _WORK_PER_SLOW_STRIP = 2**12, 2**16
"""What starting a strip costs: some microseconds; tables of colours or codes made anew take far longer."""


@dataclass(frozen=True)
class _Array:
    """Values of one tag."""

    code: str
    place: int
    count: int


def read(data: bytes) -> Header | None:
    """The header; None if a tag that the decoder needs is missing, there twice, of an odd type or beyond the file.

    Two tags of one name must be refused: libtiff takes the first, others the last. So must strips that share their
    bytes: a file of one megabyte could be decoded a hundred thousand times.
    """
    order = "<" if data[:2] == b"II" else ">"
    tags = _tags(data, order)
    if tags is None or _WIDTH not in tags or _HEIGHT not in tags:
        return None

    def first(tag: int, default: int) -> int:
        return struct.unpack_from(order + tags[tag].code, data, tags[tag].place)[0] if tag in tags else default

    width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
    if width < 1 or height < 1:
        return Header(height, width)
    tiled = _TILE_WIDTH in tags or _TILE_HEIGHT in tags or _TILE_OFFSETS in tags
    across, down = (first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0)) if tiled else (width, first(_ROWS_PER_STRIP, height))
    down = down if tiled else min(down, height)
    offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS)
    lengths = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES)
    if across < 1 or down < 1 or offsets is None:
        return None
    samples = first(_SAMPLES, 1)
    parts = -(-width // across) * -(-height // down) * (samples if first(_PLANES, 1) == 2 else 1)
    if parts > offsets.count or (lengths is None and parts > 1):
        return None
    if lengths is not None:
        sizes = struct.unpack_from(f"{order}{lengths.count}{lengths.code}", data, lengths.place)
        if parts > lengths.count or sum(sizes[:parts]) > len(data):
            return None
    pixel_bytes = max(1, samples * first(_BITS, 1) // 8)
    quick = first(_COMPRESSION, 1) in _QUICK_COMPRESSIONS and first(_PHOTOMETRIC, 0) <= 3
    work = across * down * parts * pixel_bytes + parts * (_WORK_PER_STRIP if quick else _WORK_PER_SLOW_STRIP)
    if first(_COMPRESSION, 1) in _JPEG:
        work += data.count(b"\xff\xda") * across * down * samples // 4
    # OpenCV 4 makes pictures of them that show nothing, OpenCV 5 reads none.
    bits = first(_BITS, 1)
    refused = (
        f"a TIFF of {bits} bits a sample; expected grey levels of 8 or 16. Scale and save it so." if bits > 16 else ""
    )
    return Header(height, width, held=across * down * (4 + pixel_bytes), work=work, refused=refused)


def _tags(data: bytes, order: str) -> dict[int, _Array] | None:
    """The tags that matter here, or None if one of them is there twice or beyond the file."""
    directory = struct.unpack_from(order + "I", data, 4)[0]
    tags: dict[int, _Array] = {}
    for entry in range(struct.unpack_from(order + "H", data, directory)[0]):
        place = directory + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", data, place)
        if tag not in _READ:
            continue
        if tag in tags or kind not in _TYPES or count < 1:
            return None
        size = count * struct.calcsize(_TYPES[kind])
        values = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
        if values + size > len(data):
            return None
        tags[tag] = _Array(_TYPES[kind], values, count)
    return tags
