"""An ONNX file without its weights: the same graph in kilobytes, each large tensor a place in the file.

Runtimes that parse a file of 0.8 GB hold it two or three times: the message, its tensors, their packed copies. With the
outline they map each tensor from the file when they pack it, and let go of it.

Three kinds of its records (protobuf_wire.py) matter here, the rest is copied as it is:
ModelProto.graph (7) > GraphProto.initializer (5) > TensorProto.raw_data (9), which becomes external_data (13).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from cornernet.engine.backends.protobuf_wire import BYTES, Record, bytes_field, number_field, records
from cornernet.engine.errors import ModelError

SMALLEST = 1 << 16
"""Bytes. Shorter tensors stay inside: runtimes read shapes and limits while they build the graph."""

_GRAPH, _INITIALIZER, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 7, 5, 9, 13, 14
_EXTERNAL = 1


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
    for record in records(content, 0, len(content)):
        if record.number == _GRAPH and record.wire == BYTES:
            yield bytes_field(_GRAPH, b"".join(_graph(content, record, name)))
        else:
            yield content[record.start : record.end]


def _graph(content: mmap.mmap, graph: Record, name: str) -> Iterator[bytes]:
    for record in records(content, graph.content, graph.end):
        if record.number == _INITIALIZER and record.wire == BYTES and record.end - record.content >= SMALLEST:
            yield bytes_field(_INITIALIZER, b"".join(_tensor(content, record, name)))
        else:
            yield content[record.start : record.end]


def _tensor(content: mmap.mmap, tensor: Record, name: str) -> Iterator[bytes]:
    fields = list(records(content, tensor.content, tensor.end))
    raw = [record for record in fields if record.number == _RAW_DATA and record.end - record.content >= SMALLEST]
    for record in fields:
        # Some writers say that the data is inside; that would contradict what is added below.
        if not raw or record.number not in (_RAW_DATA, _DATA_LOCATION):
            yield content[record.start : record.end]
    for values in raw[-1:]:  # of a field that is there twice the last counts
        place = {"location": name, "offset": str(values.content), "length": str(values.end - values.content)}
        for key, value in place.items():
            yield bytes_field(_EXTERNAL_DATA, bytes_field(1, key.encode()) + bytes_field(2, value.encode()))
        yield number_field(_DATA_LOCATION, _EXTERNAL)
