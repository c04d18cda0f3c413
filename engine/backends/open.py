"""Which runtime runs which file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cornernet.engine.arguments import as_path, is_file, shown_path
from cornernet.engine.backends import Backend
from cornernet.engine.errors import ModelError

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


def open_backend(path: str | Path, **options: Any) -> Backend:
    """Load a model file: `.onnx` with ONNX Runtime, `.engine` or `.plan` with TensorRT.

    options: of the backend, see `OnnxRuntimeBackend` and `TensorRTBackend`.

    Raises:
        ModelError: no such file, a file of another kind, or one that the runtime refuses.
        BackendError: the runtime is missing or broken.
    """
    path = as_path("path", path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        raise ModelError(
            f"{path}: weights are not a deployable model yet; run `cornernet export {path} -o model.onnx` first"
        )
    if suffix not in (".onnx", *ENGINE_SUFFIXES):
        raise ModelError(
            f"{shown_path(path)}: cannot tell what this is; expected a .onnx file or a TensorRT .engine or .plan file"
        )
    if not is_file(path):
        raise ModelError(f"{shown_path(path)}: no such file")
    if suffix == ".onnx":
        from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, **_known(OnnxRuntimeBackend, options))
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    return TensorRTBackend(path, **_known(TensorRTBackend, options))


def _known(backend: Callable[..., Backend], options: dict[str, Any]) -> dict[str, Any]:
    """The options, if the backend has them all. Raises TypeError naming those that it has."""
    known = [name for name in inspect.signature(backend).parameters if name != "path"]
    unknown = [name for name in options if name not in known]
    if unknown:
        cure = "" if "device" in known else ". A GPU: providers=['CUDAExecutionProvider', 'CPUExecutionProvider']"
        raise TypeError(f"no option {', '.join(unknown)} for this kind of model; expected {', '.join(known)}{cure}")
    return options
