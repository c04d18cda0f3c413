"""Float32 graph -> int8 graph: Q/DQ pairs around the convolutions of backbone and corner modules, and around the first
of each heatmap: alone of the heads they run on the whole map, and float costs hourglass-104 a tenth of its int8 time.

ONNX Runtime's own quantiser calibrates and places the pairs: it keeps our operators as they are. NNCF drops the
functions that define them, so that its result would run our plugins nowhere (and ONNX Runtime is
slower with NNCF's pairs: it wants one behind each convolution too).

Weights: signed, one scale per channel. Activations: unsigned, one scale per tensor. ONNX Runtime takes a ReLU into the
convolution only where the lowest integer is its zero, and TensorRT takes signed integers with zero point 0 only:
`make_signed` turns one into the other in memory when an engine is built. So one file serves all three.

In float stay: normalisation, the layers that give a head's answer, pooling (its padding, -inf, is no integer), peaks
and grouping.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from cornernet.engine.model_card import INPUT, METADATA_KEY, ModelCard
from cornernet.engine.whole_file import write_whole

_WEIGHTED = ("Conv", "ConvTranspose")
_PARTS = ("features.", "top_left.heatmap.0.", "bottom_right.heatmap.0.")


def block_of(name: str) -> str:
    """The block that a layer belongs to: all but the last part of its module's name.

    "features.backbone.stem.1.conv2/Conv" -> "features.backbone.stem.1".
    """
    return name.partition("/")[0].rpartition(".")[0]


def blocks_of(model: onnx.ModelProto) -> list[str]:
    """The blocks that `quantise` turns into integers, in the order of the graph."""
    return list(dict.fromkeys(block_of(node.name) for node in model.graph.node if _is_quantised(node)))


def quantise(model: onnx.ModelProto, canvases: Sequence[np.ndarray]) -> onnx.ModelProto:
    """A copy of `model` with Q/DQ pairs; ranges are the extremes of the activations on `canvases`.

    model: float32, of `onnx_export.build_model`. canvases: (N, H, W, 3) uint8 each, at least one.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Canvases(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(canvases)

        def get_next(self) -> dict[str, np.ndarray] | None:
            canvas = next(self._left, None)
            return None if canvas is None else {INPUT: canvas}

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            copied,
            path,
            Canvases(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_WEIGHTED),
            nodes_to_quantize=[node.name for node in model.graph.node if _is_quantised(node)],
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            # TensorRT takes no integer bias; ONNX Runtime rounds it itself when it loads the file.
            extra_options={"WeightSymmetric": True, "QuantizeBias": False},
        )
        quantised = onnx.load(path)
    # Its remarks on itself, and the shapes it has inferred: they hold for the sizes seen at export only.
    del quantised.metadata_props[:], quantised.graph.value_info[:]
    quantised.metadata_props.extend(model.metadata_props)
    quantised.ir_version = model.ir_version
    return quantised


def leave_in_float(quantised: onnx.ModelProto, model: onnx.ModelProto, blocks: Collection[str]) -> onnx.ModelProto:
    """A copy of `quantised` in which the layers of `blocks` read and multiply what they do in the float32 `model`.

    What they give is rounded only where a layer reads it that is still quantised.
    """
    result = onnx.ModelProto()
    result.CopyFrom(quantised)
    graph = result.graph
    original = {node.name: node for node in model.graph.node}
    unrounded = {out: node.name for node in model.graph.node if block_of(node.name) in blocks for out in node.output}
    for node in model.graph.node:
        if node.op_type == "Relu" and node.input[0] in unrounded:
            unrounded[node.output[0]] = node.name
    for node in graph.node:
        if node.name not in original:
            continue
        here = _is_quantised(node) and block_of(node.name) in blocks
        reads_integers = _is_quantised(node) and not here
        for place, tensor in enumerate(original[node.name].input):
            if here or (tensor in unrounded and not reads_integers):
                node.input[place] = tensor
    _drop_unread(graph)
    kept = {weight.name for weight in graph.initializer}
    read = {tensor for node in graph.node for tensor in node.input}
    graph.initializer.extend(w for w in model.graph.initializer if w.name in read - kept)
    return result


def write_quantised(model: onnx.ModelProto, path: Path) -> None:
    """Write a quantised model whose card says so. Raises OSError."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    card = ModelCard.from_json(entry.value, origin=str(path))
    entry.value = card.model_copy(update={"precision": "int8"}).to_json()
    write_whole(path, lambda partial: partial.write_bytes(model.SerializeToString()))


def make_signed(model: onnx.ModelProto) -> None:
    """Turn unsigned activations into signed ones with zero point 0, in place; nothing happens to a file without.

    The range becomes symmetric, so values that are never negative keep seven of their eight bits.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale, zero = (weights[name] for name in node.input[1:3])
        if zero.data_type != onnx.TensorProto.UINT8 or zero.name in done:
            continue
        done.add(zero.name)
        middle = onnx.numpy_helper.to_array(zero).astype(np.float32)
        largest = np.maximum(middle, 255 - middle) * onnx.numpy_helper.to_array(scale)
        scale.CopyFrom(onnx.numpy_helper.from_array((largest / 127).astype(np.float32), scale.name))
        zero.CopyFrom(onnx.numpy_helper.from_array(np.zeros(middle.shape, np.int8), zero.name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to optimise the graph first: the exporter has folded what can be folded."""
    root, advice = logging.getLogger(), lambda record: "before quantization" not in record.getMessage()
    root.addFilter(advice)
    try:
        yield
    finally:
        root.removeFilter(advice)


def _is_quantised(node: onnx.NodeProto) -> bool:
    return node.op_type in _WEIGHTED and node.name.startswith(_PARTS)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove nodes, then weights, that nothing reads."""
    nodes = list(graph.node)
    while True:
        read = {tensor for node in nodes for tensor in node.input} | {value.name for value in graph.output}
        alive = [node for node in nodes if read.intersection(node.output)]
        if len(alive) == len(nodes):
            break
        nodes = alive
    del graph.node[:]
    graph.node.extend(nodes)
    weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
