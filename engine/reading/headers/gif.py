"""GIF: a canvas, blocks, and the first picture, which is all that is decoded."""

from __future__ import annotations

import struct

from cornernet.engine.reading.headers.header import Header

SIGNATURES = (b"GIF87a", b"GIF89a")
_EXTENSION, _PICTURE = 0x21, 0x2C
_TABLE_CODES, _LONGEST_CODE = 4096, 12
_WORK_PER_CLEAR = 2**14
"""The decoder builds its table of 4096 vectors anew at each clear code. Encoders that never fill the table send 3,700
of them a megabyte; a hostile file of one megabyte 3 million."""
_MOST_CLEARS = 2**16


def read(data: bytes) -> Header | None:
    """The header; None if there is no picture.

    Costs: codes and RGBA, and once more RGBA where the picture is to be disposed of.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place = 13 + _colours(flags)
    while data[place] == _EXTENSION:
        place = _skip_blocks(data, place + 2)
    if data[place] != _PICTURE:
        return None
    left, top, across, down, flags = struct.unpack_from("<HHHHB", data, place + 1)
    if left + across > width or top + down > height:
        return None
    place += 10 + _colours(flags)
    clears = _count_clears(_join_blocks(data, place + 1), data[place])
    work = 3 * height * width + _WORK_PER_CLEAR * clears
    return Header(height, width, held=9 * height * width, work=work)


def _colours(flags: int) -> int:
    """Bytes of the colour table that `flags` announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(data: bytes, place: int) -> int:
    """The position after a list of blocks that ends with an empty one."""
    while data[place]:
        place += 1 + data[place]
    return place + 1


def _join_blocks(data: bytes, place: int) -> bytes:
    blocks = []
    while place < len(data) and data[place]:
        blocks.append(data[place + 1 : place + 1 + data[place]])
        place += 1 + data[place]
    return b"".join(blocks)


def _count_clears(stream: bytes, bits: int) -> int:
    """How often the codes 'clear' and 'end' (after which the decoder goes on) empty the table, up to a limit."""
    if not 2 <= bits <= 11:
        return 0
    clear, end = 1 << bits, (1 << bits) + 1
    waiting = held = clears = 0
    size, length = end, bits + 1  # entries in the table, bits of the next code
    for byte in stream:
        waiting |= byte << held
        held += 8
        while held >= length:
            code = waiting & (1 << length) - 1
            waiting >>= length
            held -= length
            if code in (clear, end):
                clears += 1
                size, length = end, bits + 1
            elif size < _TABLE_CODES:
                size += 1
                if size == 1 << length and length < _LONGEST_CODE:
                    length += 1
        if clears >= _MOST_CLEARS:
            break
    return clears
