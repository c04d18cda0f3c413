"""A stand-in for `triton_python_backend_utils`, which only Triton's own process has: as much as our model uses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np

MODEL = "cornernet.engine.serving.triton_model"


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        assert values.flags.c_contiguous and values.dtype != np.float64
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._values


class TritonError(Exception):
    def message(self) -> str:
        return str(self)


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self.tensors = {tensor.name(): tensor for tensor in output_tensors}
        self._error = error

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def values(self, name: str) -> np.ndarray:
        return self.tensors[name].as_numpy()


class Request:
    """What a client sent: inputs by name."""

    def __init__(self, **inputs: np.ndarray) -> None:
        self.tensors = {name: Tensor(name, values) for name, values in inputs.items()}


def module(networks: dict[str, Callable[[np.ndarray], InferenceResponse]]) -> ModuleType:
    """The module; `networks`: what the other models of the server answer to canvases."""

    class InferenceRequest:
        def __init__(self, model_name, requested_output_names, inputs, preferred_memory) -> None:
            (self._images,) = inputs
            assert self._images.name() == "images"
            self._model = model_name

        def exec(self) -> InferenceResponse:
            return networks[self._model](self._images.as_numpy())

    made = ModuleType("triton_python_backend_utils")
    made.Tensor, made.TritonError, made.InferenceResponse = Tensor, TritonError, InferenceResponse
    made.InferenceRequest = InferenceRequest
    made.TRITONSERVER_MEMORY_CPU = 0
    made.PreferredMemory = lambda kind, device: (kind, device)
    found = lambda holder, name: holder.tensors.get(name)  # noqa: E731
    made.get_input_tensor_by_name = made.get_output_tensor_by_name = found
    return made


def import_model(monkeypatch, networks):
    """`cornernet.engine.serving.triton_model`, imported anew with the stand-in in place."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module(networks))
    sys.modules.pop(MODEL, None)
    model = import_module(MODEL)
    del sys.modules[MODEL]
    monkeypatch.setitem(sys.modules, MODEL, model)  # until the test ends
    return model
