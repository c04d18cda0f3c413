"""A deserialised engine, and what is read from it once: its profiles and tensors, checked against the ONNX contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.backends.contract import CONTRACT
from cornernet.engine.backends.engine_card import Profile
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import INPUT


class Plan(NamedTuple):
    """A deserialised engine and what is read from it once. dtypes: of the outputs, in order, as the engine writes
    them. canvas: type of its input."""

    engine: Any
    profiles: tuple[Profile, ...]
    dtypes: dict[str, np.dtype[Any]]
    canvas: np.dtype[Any]


def read_plan(api: TensorRT, engine: Any, outputs: Sequence[str], *, float_canvases: bool) -> Plan:
    """Profiles of `engine`, types of its input, float32 or uint8, and of its `outputs`. Raises ModelError if it does
    not honour the ONNX contract."""
    trt = api.module
    canvas = np.dtype(np.float32 if float_canvases else np.uint8)
    kind = trt.DataType.FLOAT if float_canvases else trt.DataType.UINT8
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    missing = sorted({INPUT, *outputs} - set(names))
    if missing or inputs != [INPUT] or engine.get_tensor_dtype(INPUT) != kind:
        raise ModelError(
            f"the engine has the tensors {', '.join(names)}; expected the {canvas} input {INPUT} and the outputs "
            f"{', '.join(outputs)}. Build it from a file of `cornernet export` (--outputs detections)."
        )
    profiles = []
    for index in range(engine.num_optimization_profiles):
        low, best, high = (tuple(shape)[:3] for shape in engine.get_tensor_profile_shape(INPUT, index))
        profiles.append(Profile(min=low, opt=best, max=high))
    return Plan(engine, tuple(profiles), {name: _dtype(trt, engine, name) for name in outputs}, canvas)


def _dtype(trt: Any, engine: Any, name: str) -> np.dtype[Any]:
    """The type that the engine writes. ModelError if rank, width or type cannot be the contract's."""
    expected = CONTRACT[name]
    shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
    try:
        dtype = np.dtype(trt.nptype(kind))
    except TypeError:  # bfloat16, float8, int4: numpy has no such types
        dtype = None
    same_kind = dtype is not None and dtype.kind == np.dtype(expected.dtype).kind
    if len(shape) != expected.rank or (expected.width and shape[-1] not in (-1, expected.width)) or not same_kind:
        width = f", the last of length {expected.width}" if expected.width else ""
        raise ModelError(
            f"the engine's {name} has shape {shape} and type {kind}; expected {expected.dtype} of {expected.rank} "
            f"dimensions{width}. Build it from a file of `cornernet export`."
        )
    return dtype
