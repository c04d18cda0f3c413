"""A graph that a person can read in Netron and in a TensorRT profile: names say which layer; nothing else is left."""

from __future__ import annotations

import ast
from collections import Counter

import onnx

from cornernet.engine.model_card import ATTENTION_MAPS, ATTENTION_OUTPUTS, HEAD_OUTPUTS, INPUT
from cornernet.export.functions import DOMAIN

DECODER_TENSORS = {
    side: {name: f"{side}_{name}" for name in ("heatmap", "scores", "labels", "cells", "embeddings", "x", "y")}
    for side in ("tl", "br")
}
"""Names of the tensors around CornerPeaks and CornerGroup, by branch; the parity gate reads them."""

_SCOPES = "pkg.torch.onnx.name_scopes"


def tidy(model: onnx.ModelProto) -> None:
    """Rename nodes, decoder tensors and dynamic dimensions in place; drop stack traces and symbols of the export."""
    graph = model.graph
    _name_nodes(graph)
    _rename_tensors(graph, _decoder_names(graph) | _attention_names(graph))
    _name_dimensions(graph)
    # Symbolic shapes of inner tensors were derived for multiples of the size rule; 511 is legal too.
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def _name_nodes(graph: onnx.GraphProto) -> None:
    """The module that made the node, then its operator: features.backbone.stem.0.conv/Conv."""
    used: Counter[str] = Counter()
    for node in graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
        weights = [name.rpartition(".")[0] for name in node.input[1:2] if name.endswith(".weight")]
        name = f"{(weights or modules[-1:] or ['decoder'])[0]}/{node.op_type}"
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"


def _decoder_names(graph: onnx.GraphProto) -> dict[str, str]:
    names: dict[str, str] = {}
    producers = {output: node for node in graph.node for output in node.output}
    for group in (node for node in graph.node if node.op_type == "CornerGroup" and node.domain == DOMAIN):
        for ours, first in zip(DECODER_TENSORS.values(), (0, 5)):
            peaks = producers[group.input[first]]
            tensors = (peaks.input[0], *peaks.output, *group.input[first + 2 : first + 5])
            names |= dict(zip(tensors, ours.values()))
        names[group.output[0]] = "boxes_cell"
    return names


def _attention_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Of the maps that the attention's peaks are chosen from, where the file gives those."""
    if not set(ATTENTION_OUTPUTS) <= {output.name for output in graph.output}:
        return {}
    outputs = {node.name: node.output[0] for node in graph.node}
    return {outputs[f"attention.maps.{name.partition('_')[0]}.1/Conv"]: name for name in ATTENTION_MAPS}


def _rename_tensors(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """images (N, H, W, 3); outputs (N, fixed...), the raw maps (N, C, h, w)."""
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        for index, dimension in enumerate(dimensions):
            if dimension.HasField("dim_param"):
                dimension.dim_param = ("N", "H", "W")[index] if value.name == INPUT else "NChw"[index]
        assert value.name not in HEAD_OUTPUTS + ATTENTION_MAPS or len(dimensions) == 4
