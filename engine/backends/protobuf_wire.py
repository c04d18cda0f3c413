"""Protocol Buffers as they lie in a file: nested records of (tag, length, content)."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How a record's content is written: its wire type."""


class Record(NamedTuple):
    """A field and where it lies in the message: from its tag, its content, to its end [bytes]."""

    number: int
    wire: int
    start: int
    content: int
    end: int


def records(content: mmap.mmap | bytes, start: int, end: int) -> Iterator[Record]:
    """The fields between two places. Raises ValueError where they do not fill it exactly."""
    while start < end:
        tag, place = _read_varint(content, start, end)
        length = 0
        if tag & 7 == BYTES:
            length, place = _read_varint(content, place, end)
        elif tag & 7 == VARINT:
            _, place = _read_varint(content, place, end)
        elif tag & 7 in (FIXED64, FIXED32):
            length = 8 if tag & 7 == FIXED64 else 4
        else:
            raise ValueError(f"no such type of field: {tag & 7}, at byte {start}")
        if place + length > end:
            raise ValueError(f"a field at byte {start} ends at {place + length}, beyond {end}")
        yield Record(tag >> 3, tag & 7, start, place, place + length)
        start = place + length


def _read_varint(content: mmap.mmap | bytes, place: int, end: int) -> tuple[int, int]:
    """A number and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number without an end at byte {place}")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def number_field(number: int, value: int) -> bytes:
    return _varint(number << 3 | VARINT) + _varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content
