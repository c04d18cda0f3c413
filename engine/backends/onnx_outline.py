"""An ONNX file without its weights: the same graph in kilobytes, each large tensor a place in the file.

Runtimes that parse a file of 0.8 GB hold it two or three times: the message, its tensors, their packed copies. With the
outline they map each tensor from the file when they pack it, and let go of it.

Protocol Buffers nest records of (tag, length, content); three of them matter here, the rest is copied as it is:
ModelProto.graph (7) > GraphProto.initializer (5) > TensorProto.raw_data (9), which becomes external_data (13).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cornernet.engine.errors import ModelError

SMALLEST = 1 << 16
"""Bytes. Shorter tensors stay inside: runtimes read shapes and limits while they build the graph."""

_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 7, 5, 9, 13, 14
_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Record(NamedTuple):
    """A field and where it lies in the file: from its tag, its content, to its end [bytes]."""

    number: int
    wire: int
    start: int
    content: int
    end: int


def outline(path: Path) -> bytes:
    """The file's ModelProto with every tensor of at least SMALLEST bytes as external data: name, offset and length.

    Runtimes look for the name in the folder of `path`. Raises ModelError: no such file, or not an ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return b"".join(_model(content, path.name))
    except (ValueError, OSError) as error:  # ValueError: an empty file cannot be mapped
        raise ModelError(f"{path}: not an ONNX file, or a corrupted one: {error}") from error


def _model(content: mmap.mmap, name: str) -> Iterator[bytes]:
    for record in _records(content, 0, len(content)):
        if record.number == _GRAPH and record.wire == _BYTES:
            yield _field(_GRAPH, b"".join(_graph(content, record, name)))
        else:
            yield content[record.start : record.end]


def _graph(content: mmap.mmap, graph: _Record, name: str) -> Iterator[bytes]:
    for record in _records(content, graph.content, graph.end):
        if record.number == _INITIALIZER and record.wire == _BYTES and record.end - record.content >= SMALLEST:
            yield _field(_INITIALIZER, b"".join(_tensor(content, record, name)))
        else:
            yield content[record.start : record.end]


def _tensor(content: mmap.mmap, tensor: _Record, name: str) -> Iterator[bytes]:
    records = list(_records(content, tensor.content, tensor.end))
    raw = [record for record in records if record.number == _RAW_DATA and record.end - record.content >= SMALLEST]
    for record in records:
        # Some writers say that the data is inside; that would contradict what is added below.
        if not raw or record.number not in (_RAW_DATA, _DATA_LOCATION):
            yield content[record.start : record.end]
    for values in raw[-1:]:  # of a field that is there twice the last counts
        place = {"location": name, "offset": str(values.content), "length": str(values.end - values.content)}
        for key, value in place.items():
            yield _field(_EXTERNAL_DATA, _field(1, key.encode()) + _field(2, value.encode()))
        yield _varint(_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL)


def _records(content: mmap.mmap, start: int, end: int) -> Iterator[_Record]:
    """The fields between two places. Raises ValueError where they do not fill it exactly."""
    while start < end:
        tag, place = _read_varint(content, start, end)
        length = 0
        if tag & 7 == _BYTES:
            length, place = _read_varint(content, place, end)
        elif tag & 7 == _VARINT:
            _, place = _read_varint(content, place, end)
        elif tag & 7 in (_FIXED64, _FIXED32):
            length = 8 if tag & 7 == _FIXED64 else 4
        else:
            raise ValueError(f"no such type of field: {tag & 7}, at byte {start}")
        if place + length > end:
            raise ValueError(f"a field at byte {start} ends at {place + length}, beyond {end}")
        yield _Record(tag >> 3, tag & 7, start, place, place + length)
        start = place + length


def _read_varint(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
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


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
