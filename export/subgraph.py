"""The part of a model between named tensors, and the types of the decoder's tensors."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from cornernet.engine.model_card import ATTENTION_MAPS, ATTENTION_OUTPUTS, ModelCard
from cornernet.export.tidy_graph import DECODER_TENSORS


def decoder_tensors(card: ModelCard, kinds: Iterable[str]) -> list[onnx.ValueInfoProto]:
    """Declarations of the named decoder tensors of both branches; any shape."""
    types = dict.fromkeys(("scores", "embeddings", "x", "y"), onnx.TensorProto.FLOAT)
    types |= dict.fromkeys(("labels", "cells"), onnx.TensorProto.INT32)
    types["heatmap"] = _map_type(card)
    kinds = tuple(kinds)
    return [
        onnx.helper.make_tensor_value_info(names[kind], types[kind], None)
        for names in DECODER_TENSORS.values()
        for kind in kinds
    ]


def attention_maps(card: ModelCard) -> list[onnx.ValueInfoProto]:
    """Declarations of the maps that a Saccade's attention is chosen from; none for other networks."""
    names = ATTENTION_MAPS if card.saccade is not None else ()
    return [onnx.helper.make_tensor_value_info(name, _map_type(card), None) for name in names]


def attention_peaks(card: ModelCard) -> list[onnx.ValueInfoProto]:
    """Declarations of what is chosen from them."""
    types = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT32) if card.saccade is not None else ()
    return [onnx.helper.make_tensor_value_info(*entry, None) for entry in zip(ATTENTION_OUTPUTS, types)]


def _map_type(card: ModelCard) -> onnx.TensorProto.DataType:
    return onnx.TensorProto.FLOAT16 if card.precision == "fp16" else onnx.TensorProto.FLOAT


def part_between(
    model: onnx.ModelProto, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """A model of its own that computes `outputs` from `inputs`, with the nodes and functions of `model`."""
    producers = {name: node for node in model.graph.node for name in node.output}
    given = {value.name for value in inputs}
    needed, waiting = set(), [value.name for value in outputs]
    while waiting:
        name = waiting.pop()
        if name not in given and name not in needed:
            needed.add(name)
            waiting += producers[name].input if name in producers else ()
    nodes = [node for node in model.graph.node if needed.intersection(node.output)]
    weights = [weight for weight in model.graph.initializer if weight.name in needed]
    graph = onnx.helper.make_graph(nodes, "part", inputs, outputs, weights)
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )
