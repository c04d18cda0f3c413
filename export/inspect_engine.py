"""What an engine is made of: layer types and precisions, from the network before the build and the engine after it.

An engine can only be read where it can run. Built for another GPU (TensorRT-RTX without one), what can be said comes
from the network, which is strongly typed: the builder may fuse layers, but may not change a type; and from the names of
the plugins, which the plan must hold to create them.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.errors import BackendError, ModelError


class LayerFacts(NamedTuple):
    """layers: count by layer type. precisions: count of layers by the type of their first output, "HALF", "FLOAT", ...
    convolutions: the same of convolutions alone (network only: in an engine they are fused under many names)."""

    layers: dict[str, int]
    precisions: dict[str, int]
    convolutions: dict[str, int]


def network_facts(api: TensorRT, network: Any) -> LayerFacts:
    """Count the layers of a parsed network."""
    trt = api.module
    layers: Counter[str] = Counter()
    precisions: Counter[str] = Counter()
    convolutions: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        layers[layer.type.name] += 1
        if layer.num_outputs == 0:
            continue
        precision = layer.get_output(0).dtype.name
        precisions[precision] += 1
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
            convolutions[precision] += 1
    return LayerFacts(dict(layers), dict(precisions), dict(convolutions))


def check_precision(facts: LayerFacts, precision: str, name: str) -> None:
    """Raise ModelError if a file that calls itself fp16 or int8 would run in float32.

    Float32 islands (decoder, offsets) are meant; a trunk is not. So most convolutions must be half, or quantised.
    """
    convolutions = sum(facts.convolutions.values())
    if precision == "fp16" and 2 * facts.convolutions.get("HALF", 0) < max(convolutions, 1):
        raise ModelError(
            f"{name}: the card says fp16, but {convolutions - facts.convolutions.get('HALF', 0)} of {convolutions} "
            "convolutions are not half precision. Export it again: cornernet export CHECKPOINT --precision fp16"
        )
    if precision == "int8" and not facts.layers.get("DEQUANTIZE", 0):
        raise ModelError(f"{name}: the card says int8, but the graph holds no Q/DQ pairs. Quantise it again.")
    if precision == "fp32" and facts.convolutions.get("HALF", 0):
        raise ModelError(
            f"{name}: the card says fp32, but {facts.convolutions['HALF']} convolutions are half precision. "
            "Export it again."
        )


def check_plan_names(plan: memoryview, operators: dict[str, int]) -> None:
    """Raise BackendError if the plan does not name every plugin it must create when it is loaded."""
    content = bytes(plan)
    missing = [name for name in operators if name.encode() not in content]
    if missing:
        raise BackendError(f"the finished engine does not hold the plugins {', '.join(missing)}. {_REPORT}")


def engine_facts(api: TensorRT, plan: Any) -> tuple[LayerFacts, tuple[int, ...]]:
    """Deserialise `plan` on the GPU at hand; its layers as TensorRT's inspector has them, and the bytes of scratch
    memory that a context needs for the largest shape of each profile.

    Raises BackendError if it cannot be loaded where it was just built.
    """
    trt = api.module
    with api.logger.collect() as errors:
        runtime = trt.Runtime(api.logger)
        runtime.engine_host_code_allowed = True  # what it may carry was put into it a moment ago
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"the engine just built does not load: {'; '.join(errors) or 'no reason given'}")
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        profiles = range(engine.num_optimization_profiles)
        scratch = tuple(int(engine.get_device_memory_size_for_profile_v2(index)) for index in profiles)
    return facts_from_inspector(text), scratch


def facts_from_inspector(text: str) -> LayerFacts:
    """Count layers in the inspector's JSON.

    10.x writes `"Format/Datatype": "Half"` or longer phrases ("Channel major FP16 format ..."), 11 writes the type
    apart; both are understood. A plan built without detailed verbosity lists plain names: then nothing is counted, nor
    is it if the text is of a kind not known yet.
    """
    layers: Counter[str] = Counter()
    precisions: Counter[str] = Counter()
    try:
        records = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        records = []
    for record in records:
        if not isinstance(record, dict):
            continue
        layers[str(record.get("LayerType", "unknown"))] += 1
        outputs = record.get("Outputs") or []
        if outputs:
            precisions[_precision(outputs[0])] += 1
    return LayerFacts(dict(layers), dict(precisions), {})


def doubts_about(facts: LayerFacts, precision: str, operators: dict[str, int]) -> list[str]:
    """What the finished engine seems to have lost. Notes, no errors: the inspector's words are documented nowhere, and
    an engine that took minutes to build is not thrown away for a new word. Nothing if nothing was counted."""
    if not facts.layers:
        return []
    doubts = []
    plugins = sum(count for kind, count in facts.layers.items() if "plugin" in kind.lower())
    if plugins < sum(operators.values()):
        doubts.append(f"the inspector names {plugins} plugin layers, the network has {sum(operators.values())}")
    if precision == "fp16" and not facts.precisions.get("HALF"):
        doubts.append("the inspector names no half-precision layer, though the network is half precision")
    return doubts


_REPORT = "This is a fault of TensorRT or of this builder: build with --plugins none and report it."

_WORDS = (
    ("HALF", ("half", "fp16", "float16")),
    ("BF16", ("bf16", "bfloat16")),
    ("FP8", ("fp8",)),
    ("FLOAT", ("float", "fp32", "float32")),
    ("INT64", ("int64",)),
    ("INT32", ("int32",)),
    ("INT8", ("int8",)),
    ("UINT8", ("uint8",)),
    ("BOOL", ("bool",)),
)


def _precision(output: Any) -> str:
    """Name of the data type in one output record of the inspector."""
    for key in ("DataType", "Datatype", "Data Type", "Format/Datatype"):
        words = str(output.get(key, "")).lower().replace(",", " ").replace(".", " ").split()
        for name, spellings in _WORDS:
            if any(word in spellings for word in words):
                return name
    return "UNKNOWN"
