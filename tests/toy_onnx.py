"""The smallest ONNX file that honours the contract: one convolution, one corner pool, fixed arithmetic to five outputs.

Not a detector. Its pool is a function (an elementwise maximum, not the real definition), which is all that a parser or
builder needs to show which of function and plugin it takes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from cornernet.engine.model_card import METADATA_KEY, Decoder, ModelCard

ROWS = 2
"""Detections per image."""

_GRAPH = """
<ir_version: 10, opset_import: ["" : 18, "cornernet" : 1]>
toy (uint8[N,H,W,3] images) => (
    float[N,2,4] boxes, float[N,2] scores, float[N,2,2] corner_scores, int32[N,2] labels, int32[N] counts
) {{
    typed = Cast<to={dtype}>(images)
    planes = Transpose<perm=[0,3,1,2]>(typed)
    map = Conv<strides=[4,4], pads=[1,1,1,1]>(planes, weight)
    pooled = cornernet.{operator}<plugin_namespace="cornernet", plugin_version="1">(map, map)
    peak = GlobalMaxPool(pooled)
    peak32 = Cast<to=1>(peak)
    two_by_four = Constant<value=int64[3]{{0,2,4}}>()
    boxes = Reshape(peak32, two_by_four)
    axis = Constant<value=int64[1]{{2}}>()
    sums = ReduceSum<keepdims=0>(boxes, axis)
    scores = Sigmoid(sums)
    halves = Constant<value=int64[2]{{2,2}}>()
    corner_scores, rest = Split<axis=2>(boxes, halves)
    labels = Cast<to=6>(scores)
    every = Constant<value=int64[1]{{1}}>()
    counts = ReduceSum<keepdims=0>(labels, every)
}}
<domain: "cornernet", opset_import: ["" : 18]>
CornerPoolTopLeft (a, b) => (y) {{ y = Max(a, b) }}
"""


def toy_card(**changes: object) -> ModelCard:
    facts = dict(
        name="toy",
        class_names=("one", "two"),
        category_ids=(1, 2),
        stride=4,
        size_multiple=16,
        max_size=64,
        train_size=(32, 48),
        decoder=Decoder(top_k=2, num_dets=ROWS),
    )
    return ModelCard(**(facts | changes))  # type: ignore[arg-type]


def write_toy(
    path: Path, *, half: bool = False, operator: str = "CornerPoolTopLeft", card: ModelCard | None = None
) -> Path:
    """Write the file. half: convolution in float16. operator: of the pool node; without a function it cannot run."""
    dtype, numpy_type = (10, np.float16) if half else (1, np.float32)
    model = onnx.parser.parse_model(_GRAPH.format(dtype=dtype, operator=operator))
    weight = np.random.default_rng(7).standard_normal((8, 3, 3, 3)).astype(numpy_type) / 512
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(numpy_type), "weight"))
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    facts = card or toy_card(precision="fp16" if half else "fp32")
    model.metadata_props.append(onnx.StringStringEntryProto(key=METADATA_KEY, value=facts.to_json()))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
