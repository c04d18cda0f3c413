"""The same ONNX file for grey levels that are not whole: its input declared float32, in memory.

A file takes uint8 canvases, and casts them to float first. A cast of what is float already changes nothing, so that
only the declared type keeps interpolated canvases from being seen as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cornernet.engine.backends.protobuf_wire import BYTES, bytes_field, number_field, records
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import INPUT, METADATA_KEY, ModelCard

READERS = {"Cast", "Shape"}
"""What may read the canvases of a file that is opened so: other operators need not mean the same in float."""

# Of ModelProto, of its GraphProto, and down to the type of an input; then of the messages beside these.
_METADATA, _GRAPH, _NODE, _INPUT, _TYPE, _TENSOR_TYPE, _ELEM_TYPE = 14, 7, 1, 11, 2, 1, 1
_KEY, _VALUE, _NAME, _NODE_INPUT, _OPERATOR = 1, 2, 1, 1, 4
_FLOAT = 1


def with_float_canvases(model: bytes) -> bytes:
    """A ModelProto, its canvases declared float32 if its card says that they may be and only READERS read them; else,
    and where it is damaged, as it is: a runtime tells what is wrong with it."""
    try:
        return b"".join(_declared(model)) if _card_says_so(model) else model
    except (ValueError, ModelError):
        return model


def as_declared(canvases: np.ndarray, *, floats: bool) -> np.ndarray:
    """uint8 canvases as a model that takes float32 wants them, the same grey levels; others as they are."""
    return canvases.astype(np.float32) if floats and canvases.dtype == np.uint8 else canvases


def _card_says_so(model: bytes) -> bool:
    for properties in _messages(model, _METADATA):
        (key,), (value,) = _messages(properties, _KEY), _messages(properties, _VALUE)
        if key == METADATA_KEY.encode():
            return ModelCard.from_json(value.decode(), origin="").float_canvases
    return False


def _declared(model: bytes) -> Iterator[bytes]:
    """Raises ValueError if something beside READERS reads the canvases."""
    for record in records(model, 0, len(model)):
        content = model[record.content : record.end]
        if record.number != _GRAPH:
            yield model[record.start : record.end]
        elif not _operators(content) <= READERS:
            raise ValueError(f"the canvases are read by {_operators(content)}")
        else:
            yield bytes_field(_GRAPH, b"".join(_declared_in(content)))


def _declared_in(graph: bytes) -> Iterator[bytes]:
    # Of a message that is there twice the parts are merged, and of a number the last one counts.
    floats = bytes_field(_TYPE, bytes_field(_TENSOR_TYPE, number_field(_ELEM_TYPE, _FLOAT)))
    for record in records(graph, 0, len(graph)):
        content = graph[record.content : record.end]
        if record.number == _INPUT and INPUT.encode() in _messages(content, _NAME):
            yield bytes_field(_INPUT, content + floats)
        else:
            yield graph[record.start : record.end]


def _operators(graph: bytes) -> set[str]:
    """Of the nodes that read the canvases."""
    readers = (node for node in _messages(graph, _NODE) if INPUT.encode() in _messages(node, _NODE_INPUT))
    return {operator.decode() for node in readers for operator in _messages(node, _OPERATOR)}


def _messages(message: bytes, number: int) -> list[bytes]:
    """The contents of one field: messages, or texts. Raises ValueError where the message is damaged."""
    found = (record for record in records(message, 0, len(message)) if (record.number, record.wire) == (number, BYTES))
    return [message[record.content : record.end] for record in found]
