"""The two `config.pbtxt` of a repository, as text. Their meaning: Triton's model_config.proto, which a test parses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cornernet.engine.geometry import Size
from cornernet.engine.model_card import INPUT

MARK = "# Written by `cornernet triton`."
"""How each of our configuration files begins: only those are replaced."""

Shape = Sequence[int]
"""Without the batch; -1: any length."""


@dataclass(frozen=True)
class NetworkFacts:
    """What Triton has to know of the network's file.

    shapes: of `images` and of each output. canvases: (height, width) [px] to warm up with. profiles: of an engine.
    """

    backend: Literal["onnxruntime", "tensorrt"]
    shapes: Mapping[str, Shape]
    max_batch: int
    canvases: Sequence[Size]
    profiles: int = 1


def network_config(name: str, facts: NetworkFacts, *, instances: int, delay_us: int) -> str:
    """The network: canvases in, the five outputs of the contract out."""
    outputs = [key for key in facts.shapes if key != INPUT]
    kind = "KIND_GPU" if facts.backend == "tensorrt" else "KIND_AUTO"
    profiles = ", ".join(f'"{number}"' for number in range(facts.profiles)) if facts.profiles > 1 else ""
    return f"""{MARK}
# Canvases (uint8, already placed) -> candidates in canvas pixels. Clients talk to the model in front of this one.
name: "{name}"
backend: "{facts.backend}"
max_batch_size: {facts.max_batch}
input [ {_tensor(INPUT, "TYPE_UINT8", facts.shapes[INPUT])} ]
output [
  {_joined(_tensor(key, _TYPES[key], facts.shapes[key]) for key in outputs)}
]
instance_group [ {{ count: {instances} kind: {kind}{f" profile: [ {profiles} ]" if profiles else ""} }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
model_warmup [
  {_joined(_warmup(batch, size) for size in facts.canvases for batch in sorted({1, facts.max_batch}))}
]
"""


def boxes_config(name: str, network: str, settings: Mapping[str, Any], *, max_batch: int, workers: int) -> str:
    """The model in front: pictures in, boxes in image pixels out."""
    return f"""{MARK}
# Pictures -> boxes in image pixels. One of the two inputs: files as they are (JPEG, PNG, ...), or pixels.
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [
  {{ name: "encoded" data_type: TYPE_STRING dims: [ 1 ] optional: true allow_ragged_batch: true }},
  {{ name: "pixels" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] optional: true allow_ragged_batch: true }}
]
output [
  {{ name: "boxes" data_type: TYPE_FP32 dims: [ -1, 4 ] }},
  {{ name: "scores" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "labels" data_type: TYPE_INT32 dims: [ -1 ] }},
  {{ name: "names" data_type: TYPE_STRING dims: [ -1 ] }},
  {{ name: "counts" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "image_size" data_type: TYPE_INT32 dims: [ 2 ] }},
  {{ name: "errors" data_type: TYPE_STRING dims: [ 1 ] }}
]
# Each is a process that reads pictures and post-processes; the network's batcher joins their canvases.
instance_group [ {{ count: {workers} kind: KIND_CPU }} ]
dynamic_batching {{ }}
parameters [
  {{ key: "network" value {{ string_value: "{network}" }} }},
  # Arguments of Detector: score_threshold, resize, size, mirror, ...
  {{ key: "settings" value {{ string_value: {json.dumps(json.dumps(dict(settings)))} }} }}
]
"""


_TYPES = {
    "boxes": "TYPE_FP32",
    "scores": "TYPE_FP32",
    "corner_scores": "TYPE_FP32",
    "labels": "TYPE_INT32",
    "counts": "TYPE_INT32",
    "attention_scores": "TYPE_FP32",
    "attention_cells": "TYPE_INT32",
}


def _joined(items: Any) -> str:
    return ",\n  ".join(items)


def _tensor(name: str, kind: str, shape: Shape) -> str:
    if not shape:  # a number an image: Triton has no scalars, and calls (N,) (N, 1)
        return f'{{ name: "{name}" data_type: {kind} dims: [ 1 ] reshape {{ shape: [ ] }} }}'
    return f'{{ name: "{name}" data_type: {kind} dims: [ {", ".join(map(str, shape))} ] }}'


def _warmup(batch: int, size: Size) -> str:
    height, width = size
    value = f"data_type: TYPE_UINT8 dims: [ {height}, {width}, 3 ] zero_data: true"
    return f'{{ name: "{batch}x{height}x{width}" batch_size: {batch} inputs {{ key: "{INPUT}" value {{ {value} }} }} }}'
