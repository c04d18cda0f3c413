"""Any model file as a running backend: the torch checkpoint is the reference, ONNX and engines are what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cornernet.engine.backends import Backend
from cornernet.engine.backends.open import ENGINE_SUFFIXES, Precision, Runtime, open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.installation import require


def open_weights(
    path: str | Path,
    *,
    device: str | None = None,
    precision: Literal["fp32", "fp16", "bf16"] | None = None,
    compiled: bool = False,
    threads: int | None = None,
) -> Backend:
    """A `.safetensors` file in torch.

    device: "cpu", "cuda", "cuda:1"; None: a GPU if there is one. precision: "fp32", "fp16", "bf16"; None: fp16 on a
    device that was named and is a GPU, else fp32, the reference. compiled: through torch.compile. threads: of one
    operator on the CPU; default: torch's own choice.

    Raises:
        ModelError: the file cannot be used. BackendError: no torch, or no such device.
    """
    require("torch", f"running the weights {Path(path).name}")
    require("safetensors", f"reading the weights {Path(path).name}")
    import torch

    from cornernet.trainer.deploy.torch_backend import TorchBackend
    from cornernet.trainer.network.checkpoint import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    usual: Literal["fp32", "fp16"] = "fp16" if device is not None and chosen.startswith("cuda") else "fp32"
    return TorchBackend(*load_checkpoint(path), device=chosen, precision=precision or usual, compiled=compiled)


def open_model(
    path: str | Path,
    *,
    threads: int | None = None,
    compiled: bool = False,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    plugins: str | Path | None = None,
) -> Backend:
    """Any model file, see `open_backend`. compiled: checkpoints through torch.compile. plugins: of a TensorRT engine,
    see `TensorRTBackend`. The caller closes the backend.

    Raises:
        ModelError: the file cannot be used. BackendError: its runtime or the device is missing.
    """
    if plugins is not None and Path(path).suffix.lower() not in ENGINE_SUFFIXES:
        raise ModelError(
            f"{path}: it has no plugins, which are the operators of a TensorRT engine; leave that option out"
        )
    given = {"compiled": compiled or None, "plugins": plugins}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return open_backend(path, runtime=runtime, precision=precision, device=device, threads=threads, **options)


@contextmanager
def open_detector(
    path: str | Path,
    *,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    threads: int | None = None,
    plugins: str | Path | None = None,
    **settings: Any,
) -> Iterator[Detector]:
    """A detector over any model file, closed in the end. `settings`: of `Detector`."""
    backend = open_model(path, runtime=runtime, precision=precision, device=device, threads=threads, plugins=plugins)
    try:
        with Detector(backend, threads=threads, **settings) as detector:
            yield detector
    finally:
        backend.close()


def runtime_of(backend: Backend) -> str:
    """What runs it, such as 'ONNX Runtime CPU': for ONNX Runtime the provider that really started."""
    providers = getattr(backend, "active_providers", None)
    return f"{backend.name} {providers[0].removesuffix('ExecutionProvider')}" if providers else backend.name


def precision_of(backend: Backend) -> str:
    """What it computes in: that of the file, unless the runtime was told otherwise."""
    return str(getattr(backend, "precision", backend.card.precision))


def sha256_of(path: str | Path) -> str:
    """Which file it was, whatever its name."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
