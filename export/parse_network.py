"""ONNX file -> TensorRT network, with our operators as plugins or as their own definitions.

The rule is the same for every version of TensorRT's parser, although these disagree on whether a plugin or a function
of the same name wins (tensorrt 10.0 to 11.x): where the plugin is loaded, the function leaves the model in memory;
where no plugin is wanted, the attributes that ask for one do. Then there is nothing left to choose.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from cornernet.engine.backends.float_canvases import READERS
from cornernet.engine.backends.trt_api import NAMESPACE, TensorRT
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import INPUT, METADATA_KEY, ModelCard
from cornernet.export.quantise import make_signed

PLUGIN_ATTRIBUTES = ("plugin_namespace", "plugin_version")


class Parsed(NamedTuple):
    """A network and what must live as long: the parser owns the weights, the builder owns both.

    operators: plugin nodes by operator, as the network holds them; empty without plugins.
    """

    builder: Any
    network: Any
    parser: Any
    operators: dict[str, int]


def read_onnx(path: Path) -> tuple[onnx.ModelProto, ModelCard]:
    """The graph (external weights left where they are) and its card. Raises ModelError if either cannot be read."""
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError as error:
        raise ModelError(f"no ONNX file at {path}. Write one: cornernet export CHECKPOINT -o {path.name}") from error
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX file, or is truncated: {error}. Export it again.") from error
    cards = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not cards:
        raise ModelError(f"{path} has no model card ({METADATA_KEY}). Write it with `cornernet export`.")
    return model, ModelCard.from_json(cards[0], origin=str(path))


def prepare(model: onnx.ModelProto, plugins: tuple[str, ...]) -> dict[str, int]:
    """Change `model` in place so that exactly the operators in `plugins` become plugins; returns the nodes of each.

    Only nodes of the main graph count: a plugin node inside a function is expanded by the parser in any case.
    """
    wanted: Counter[str] = Counter()
    for node in model.graph.node:
        if node.domain != NAMESPACE:
            continue
        if node.op_type in plugins:
            wanted[node.op_type] += 1
        else:
            kept = [attribute for attribute in node.attribute if attribute.name not in PLUGIN_ATTRIBUTES]
            del node.attribute[:]
            node.attribute.extend(kept)
    functions = [f for f in model.functions if f.domain != NAMESPACE or f.name not in plugins]
    del model.functions[:]
    model.functions.extend(functions)
    return dict(wanted)


def declare_float(model: onnx.ModelProto, card: ModelCard, path: Path) -> None:
    """Change `model` in place so that it takes float32 canvases. Raises ModelError if they may not be that."""
    readers = {str(node.op_type) for node in model.graph.node if INPUT in node.input}
    if not card.float_canvases or readers - READERS:
        raise ModelError(
            f"--float-canvases: {path} is made for uint8 canvases. Only a CornerNet-Saccade of `cornernet export` "
            "looks at canvases that are interpolated and never rounded."
        )
    for value in model.graph.input:
        if value.name == INPUT:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def parse(api: TensorRT, model: onnx.ModelProto, path: Path, plugins: tuple[str, ...]) -> Parsed:
    """Parse `model` (read from `path`, where its external weights lie) into a strongly typed network.

    Raises ModelError listing the nodes the parser refuses; BackendError if a plugin that is loaded is not used.
    """
    trt = api.module
    wanted = prepare(model, plugins)
    make_signed(model)  # TensorRT's integers; files have those that ONNX Runtime is fast with
    with api.logger.collect() as errors:
        builder = trt.Builder(api.logger)
        if builder is None:
            raise BackendError(f"{api.flavour} {api.version} has no builder here: {'; '.join(errors)}")
        network = builder.create_network(api.network_flags())
        parser = trt.OnnxParser(network, api.logger)
        if not parser.parse(model.SerializeToString(), str(path)):
            raise ModelError(f"{api.flavour} {api.version} refuses {path}: {_parser_errors(parser)}")
    found = sum(network.get_layer(index).type == trt.LayerType.PLUGIN_V3 for index in range(network.num_layers))
    if found != sum(wanted.values()):
        raise BackendError(
            f"{path} has {sum(wanted.values())} nodes for the plugin library ({_counted(wanted)}), but the parser of "
            f"{api.flavour} {api.version} made {found} plugin layers. Build with --plugins none, and report this."
        )
    return Parsed(builder, network, parser, wanted)


def _counted(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(operators.items())) or "none"


def _parser_errors(parser: Any) -> str:
    """Each error with its node, so that it can be found in the graph."""
    lines = []
    for index in range(parser.num_errors):
        parser_error = parser.get_error(index)
        name = parser_error.node_name() or f"number {parser_error.node()}"
        lines.append(f"node {name} ({parser_error.node_operator() or 'graph'}): {parser_error.desc()}")
    return "; ".join(lines) or "no reason given"
