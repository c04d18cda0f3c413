"""Which runtime runs which file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        raise ModelError(
            f"{path}: weights are not a deployable model yet; run `cornernet export {path} -o model.onnx` first"
        )
    if beside := weights_beside(path):
        raise ModelError(beside)
    if suffix not in (".onnx", *ENGINE_SUFFIXES):
        raise ModelError(f"{path}: cannot tell what this is; expected a .onnx file or a TensorRT .engine or .plan file")
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if suffix == ".onnx":
        from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(path, **options)
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    return TensorRTBackend(path, **options)


def weights_beside(path: Path) -> str:
    """What to say of a file that only continues a training run, where the run's weights lie beside it; else ''."""
    weights = path.with_suffix(".safetensors")
    if path.suffix.lower() != ".pt" or not weights.is_file():
        return ""
    return f"{path}: it only continues a training run (`cornernet train --resume`); the weights to use are {weights}"
