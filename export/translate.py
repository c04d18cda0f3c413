"""Torch's custom operators as ONNX nodes: what torch.onnx needs to know about each of ours.

The five deployed operators become one node of domain `cornernet` each. The others become standard nodes that read the
shapes of the tensors themselves: shapes computed from the image's sides would hold for the sizes seen at export only
(511 / 4 is not 128).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset18
from onnxscript.values import Op, Opset

from cornernet.export.functions import DOMAIN, PLUGIN_ATTRIBUTES, VERSION

op: Any = opset18  # its generated type hints know only the types of one opset each
_ATTRIBUTE = onnx.defs.OpSchema.AttrType
_MAPS = ["tensor(float)", "tensor(float16)"]
_CORNER = {"scores": "F", "labels": "I", "embeddings": "F", "x": "F", "y": "F"}


def _operator(
    name: str, inputs: dict[str, str], outputs: dict[str, str], **attributes: onnx.defs.OpSchema.AttrType
) -> Op:
    """A callable that makes one `cornernet` node; types: M a float32 or float16 map, F float32, I int32."""
    formal = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[formal(key, kind) for key, kind in inputs.items()],
        outputs=[formal(key, kind) for key, kind in outputs.items()],
        type_constraints=[("M", _MAPS, ""), ("F", ["tensor(float)"], ""), ("I", ["tensor(int32)"], "")],
        attributes=[
            onnx.defs.OpSchema.Attribute(key, kind, "", required=True)
            for key, kind in (attributes | dict.fromkeys(PLUGIN_ATTRIBUTES, _ATTRIBUTE.STRING)).items()
        ],
    )
    return Op(Opset(DOMAIN, VERSION), name, schema)


_POOL_TOP_LEFT = _operator("CornerPoolTopLeft", {"a": "M", "b": "M"}, {"y": "M"})
_POOL_BOTTOM_RIGHT = _operator("CornerPoolBottomRight", {"a": "M", "b": "M"}, {"y": "M"})
_PEAKS = _operator("CornerPeaks", {"logits": "M"}, {"scores": "F", "labels": "I", "cells": "I"}, top_k=_ATTRIBUTE.INT)
_WINDOWS = _operator(
    "CornerWindows",
    {"features": "M", "cells": "I"},
    {"windows": "M", "columns": "F", "rows": "F"},
    size=_ATTRIBUTE.INT,
)
_GROUP = _operator(
    "CornerGroup",
    {f"{side}_{key}": kind for side in ("tl", "br") for key, kind in _CORNER.items()},
    {"boxes": "F", "scores": "F", "corner_scores": "F", "labels": "I", "counts": "I"},
    num_dets=_ATTRIBUTE.INT,
    max_distance=_ATTRIBUTE.FLOAT,
    reject_zero_size=_ATTRIBUTE.INT,
)


def _pool_top_left(a: Any, b: Any) -> Any:
    return _POOL_TOP_LEFT(a, b, **PLUGIN_ATTRIBUTES)


def _pool_bottom_right(a: Any, b: Any) -> Any:
    return _POOL_BOTTOM_RIGHT(a, b, **PLUGIN_ATTRIBUTES)


def _peaks(logits: Any, top_k: int) -> Any:
    return _PEAKS(logits, top_k=top_k, **PLUGIN_ATTRIBUTES)


def _group(
    ts: Any, tl: Any, te: Any, tx: Any, ty: Any, bs: Any, bl: Any, be: Any, bx: Any, by: Any,
    num_dets: int, max_distance: float, reject_zero_size: bool,
) -> Any:  # fmt: skip
    corners = (ts, tl, te, tx, ty, bs, bl, be, bx, by)
    settings = {"num_dets": num_dets, "max_distance": max_distance, "reject_zero_size": int(reject_zero_size)}
    return _GROUP(*corners, **settings, **PLUGIN_ATTRIBUTES)


def _integers(*values: int) -> Any:
    return op.Constant(value=onnx.numpy_helper.from_array(np.array(values, np.int64)))


def _sides(features: Any) -> tuple[Any, Any]:
    return op.Shape(features, start=2, end=3), op.Shape(features, start=3, end=4)


def _places(cells: Any, width: Any) -> tuple[Any, Any]:
    """Row and column of each cell, int64."""
    cell = op.Cast(cells, to=onnx.TensorProto.INT64)
    row = op.Div(cell, width)
    return row, op.Sub(cell, op.Mul(row, width))


def _windows(features: Any, cells: Any, size: int) -> Any:
    return _WINDOWS(features, cells, size=size, **PLUGIN_ATTRIBUTES)


def _reject_border(labels: Any, cells: Any, heatmap: Any, last: bool) -> Any:
    """trainer.decode.reject_border in standard nodes."""
    height, width = _sides(heatmap)
    row, column = _places(cells, width)
    one = _integers(1)
    border = (op.Sub(height, one), op.Sub(width, one)) if last else (_integers(0), _integers(0))
    cut_off = op.Or(op.Equal(row, border[0]), op.Equal(column, border[1]))
    return op.Where(cut_off, op.Constant(value=onnx.numpy_helper.from_array(np.array(-1, np.int32))), labels)


def _attention_peaks(logits: Any, count: int) -> Any:
    """trainer.decode.attention_peaks in standard nodes: the function CornerPeaks has its number of peaks inside."""
    wide = op.Cast(logits, to=onnx.TensorProto.FLOAT)
    low = op.Constant(value_float=-np.inf)
    values = op.Where(op.IsNaN(wide), low, wide)
    window, _ = op.MaxPool(values, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    peaks = op.Reshape(op.Where(op.Equal(values, window), values, low), _integers(0, -1))
    # The smallest legal map may have fewer cells than peaks are asked for.
    best, cell = op.TopK(op.Pad(peaks, _integers(0, 0, 0, count), low), _integers(count), axis=1)
    found = op.Greater(best, low)
    scores = op.Where(found, op.Sigmoid(best), op.Constant(value_float=-1.0))
    cells = op.Cast(op.Where(found, cell, _integers(0)), to=onnx.TensorProto.INT32)
    return scores, cells


def _cell_size(images: Any, features: Any) -> Any:
    """trainer.decode.cell_size in standard nodes."""
    pixels = op.Cast(op.Shape(images, start=1, end=3), to=onnx.TensorProto.FLOAT)
    cells = op.Cast(op.Shape(features, start=2, end=4), to=onnx.TensorProto.FLOAT)
    twice = op.Constant(value=onnx.numpy_helper.from_array(np.array((1, 0, 1, 0), np.int64)))
    return op.Gather(op.Div(pixels, cells), twice)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.cornernet.corner_pool_top_left.default: _pool_top_left,
    torch.ops.cornernet.corner_pool_bottom_right.default: _pool_bottom_right,
    torch.ops.cornernet.corner_peaks.default: _peaks,
    torch.ops.cornernet.corner_group.default: _group,
    torch.ops.cornernet.corner_windows.default: _windows,
    torch.ops.cornernet.reject_border.default: _reject_border,
    torch.ops.cornernet.attention_peaks.default: _attention_peaks,
    torch.ops.cornernet.cell_size.default: _cell_size,
}
"""For `torch.onnx.export(custom_translation_table=...)`."""
