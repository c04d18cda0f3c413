"""An ONNX file that honours the contract with the exporter's own operators, around one convolution.

Not a detector: embeddings and coordinates are made from the cell numbers. It shows whether a runtime takes the true
definitions of the operators, and on a GPU whether plugins and definitions give the same boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from cornernet.engine.model_card import METADATA_KEY, Decoder, ModelCard
from cornernet.export.functions import corner_group_function, corner_peaks_function, corner_pool_functions

CLASSES, TOP_K, ROWS, REACH = 3, 20, 50, 32
OPERATORS = {"CornerPoolTopLeft": 1, "CornerPoolBottomRight": 1, "CornerPeaks": 2, "CornerGroup": 1}

_GRAPH = """
<ir_version: 10, opset_import: ["" : 18, "cornernet" : 1]>
operators (uint8[N,H,W,3] images) => (
    float[N,{rows},4] boxes, float[N,{rows}] scores, float[N,{rows},2] corner_scores, int32[N,{rows}] labels,
    int32[N] counts
) {{
    typed = Cast<to={dtype}>(images)
    planes = Transpose<perm=[0,3,1,2]>(typed)
    map = Conv<strides=[4,4], pads=[3,3,3,3]>(planes, weight)
    tl = cornernet.CornerPoolTopLeft<{attributes}>(map, map)
    br = cornernet.CornerPoolBottomRight<{attributes}>(map, map)
    mixed = Sub(tl, br)
    s1, l1, c1 = cornernet.CornerPeaks<top_k={top_k}, {attributes}>(map)
    s2, l2, c2 = cornernet.CornerPeaks<top_k={top_k}, {attributes}>(mixed)
    x1 = Cast<to=1>(c1)
    x2 = Cast<to=1>(c2)
    thousandth = Constant<value = float {{0.001}}>()
    e1 = Mul(x1, thousandth)
    e2 = Mul(x2, thousandth)
    boxes, scores, corner_scores, labels, counts = cornernet.CornerGroup<
        num_dets={rows}, max_distance=0.5, reject_zero_size=0, {attributes}
    >(s1, l1, e1, x1, x1, s2, l2, e2, x2, x2)
}}
"""


def operators_card(half: bool) -> ModelCard:
    return ModelCard(
        name="operators",
        class_names=("one", "two", "three"),
        category_ids=(1, 2, 3),
        stride=4,
        size_multiple=32,
        max_size=4 * REACH,
        train_size=(64, 96),
        decoder=Decoder(top_k=TOP_K, num_dets=ROWS),
        precision="fp16" if half else "fp32",
    )


def write_operators(path: Path, *, half: bool = False) -> Path:
    """Write the file; half: convolution and maps in float16."""
    attributes = 'plugin_namespace="cornernet", plugin_version="1"'
    graph = _GRAPH.format(dtype=10 if half else 1, rows=ROWS, top_k=TOP_K, attributes=attributes)
    model = onnx.parser.parse_model(graph)
    smallest_map = CLASSES * 8 * 8
    model.functions.extend(
        [
            *corner_pool_functions(REACH),
            corner_peaks_function(TOP_K, smallest_map),
            corner_group_function(TOP_K, ROWS, 0.5, False),
        ]
    )
    weight = np.random.default_rng(3).standard_normal((CLASSES, 3, 7, 7)) / 2048
    initializer = onnx.numpy_helper.from_array(weight.astype(np.float16 if half else np.float32), "weight")
    model.graph.initializer.append(initializer)
    card = operators_card(half).to_json()
    model.metadata_props.append(onnx.StringStringEntryProto(key=METADATA_KEY, value=card))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
