"""An ONNX file in standard operators only, for runtimes that know neither our operators nor ONNX functions.

Nothing large is copied: the functions are inlined into the outline of the file, whose large tensors become inputs of
the graph; the runtime is then given each of them as a constant that lies in the mapped file.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cornernet.engine.backends.contract import Tensor
from cornernet.engine.backends.float_canvases import with_float_canvases
from cornernet.engine.backends.onnx_outline import outline
from cornernet.engine.errors import ModelError
from cornernet.engine.installation import missing

try:
    import onnx
    import onnx.inliner
    from google.protobuf.message import DecodeError
except ImportError as absent:
    raise missing("onnx", "inlining the functions of an ONNX file") from absent


class Inlined(NamedTuple):
    """graph: a serialised ModelProto; inputs and outputs: as the file declares them, see float_canvases.py.

    weights: for each further input of the graph its values, which lie in one of `files`. These are private maps:
    nothing written to them reaches the disk.
    """

    graph: bytes
    metadata: dict[str, str]
    inputs: list[Tensor]
    outputs: list[Tensor]
    weights: dict[str, np.ndarray]
    files: list[mmap.mmap]


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in standard operators only: each node of a function replaced by its definition."""
    gone = {function.domain for function in model.functions}
    inlined = onnx.inliner.inline_local_functions(model)
    kept = [opset for opset in inlined.opset_import if opset.domain not in gone]
    del inlined.opset_import[:]
    inlined.opset_import.extend(kept)
    return inlined


def read_inlined(path: Path) -> Inlined:
    """Raises ModelError: not an ONNX file, a corrupted one, or weights that do not lie where it says."""
    path = path.resolve()  # what a link leads to: other files of weights lie beside that
    try:
        model = inline_functions(onnx.load_model_from_string(with_float_canvases(outline(path))))
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        inputs, outputs = ([_tensor(value) for value in values] for values in (model.graph.input, model.graph.output))
        weights, files = _take_weights(model.graph, path.parent)
        return Inlined(model.SerializeToString(), metadata, inputs, outputs, weights, files)
    # The inliner and the message each raise several types for a damaged graph.
    except (DecodeError, RuntimeError, ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(f"{path}: not an ONNX file, or a corrupted one: {error}") from error


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = (dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
    return Tensor(str(value.name), np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name, tuple(shape))


def _take_weights(graph: onnx.GraphProto, folder: Path) -> tuple[dict[str, np.ndarray], list[mmap.mmap]]:
    """Turn each initializer whose values are outside the message into an input, and map those values."""
    maps: dict[str, mmap.mmap] = {}
    weights = {}
    inside = []
    for tensor in graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            inside.append(tensor.SerializeToString())
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place["location"] not in maps:
            maps[place["location"]] = _map(folder, place["location"])
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        start = int(place.get("offset", 0))
        values = np.frombuffer(maps[place["location"]], dtype, math.prod(tensor.dims), start)
        weights[tensor.name] = values.reshape(tuple(tensor.dims))
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del graph.initializer[:]
    for content in inside:
        graph.initializer.add().ParseFromString(content)
    return weights, list(maps.values())


def _map(folder: Path, name: str) -> mmap.mmap:
    """A private map of a file in `folder`. Raises ValueError if the name leads elsewhere."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise ValueError(f"its weights are said to lie in {name}, outside its folder")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
