"""Which runtime runs which file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cornernet.engine.backends import Backend
from cornernet.engine.errors import ModelError
from cornernet.engine.openers import OPENERS

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


def open_backend(path: str | Path, **options: Any) -> Backend:
    """Load a model file: `.onnx` with ONNX Runtime, `.engine` or `.plan` with TensorRT, `.safetensors` with PyTorch.

    options: of the backend, see `OnnxRuntimeBackend`, `TensorRTBackend` and `open_weights`.

    Raises:
        ModelError: no such file, a file of another kind, or one that the runtime refuses.
        BackendError: the runtime is missing or broken.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".onnx", *ENGINE_SUFFIXES, *OPENERS):
        raise ModelError(f"{path}: cannot tell what this is; expected a .onnx file or a TensorRT .engine or .plan file")
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if suffix in OPENERS:
        backend: Backend = OPENERS[suffix](path, **options)
        return backend
    if suffix == ".onnx":
        from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, **options)
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    return TensorRTBackend(path, **options)
