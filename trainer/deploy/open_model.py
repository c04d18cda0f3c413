"""Any model file as a running backend: the torch checkpoint is the reference, ONNX and engines are what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cornernet.engine.arguments import as_path
from cornernet.engine.backends import Backend
from cornernet.engine.backends.open import Precision, Runtime, open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError


def open_model(
    path: str | Path,
    *,
    threads: int | None = None,
    compiled: bool = False,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
) -> Backend:
    """`.safetensors` in torch (on a GPU if there is one), everything else by `open_backend`.

    threads: of one operator on the CPU; default: the runtime's own choice. compiled: checkpoints through torch.compile.
    runtime, precision: of everything else, see `open_backend`. The caller closes the backend.

    Raises:
        ModelError: the file cannot be used. BackendError: its runtime is missing. ModuleNotFoundError: no torch.
    """
    path = as_path("path", path)
    if path.suffix.lower() != ".safetensors":
        options: dict[str, Any] = {"threads": threads} if threads and path.suffix.lower() == ".onnx" else {}
        return open_backend(path, runtime=runtime, precision=precision, **options)
    if runtime not in (None, "auto") or precision not in (None, "fp32", "auto"):
        raise ModelError(
            f"{path}: a checkpoint runs in PyTorch; runtime={runtime!r} and precision={precision!r} need a .onnx file; "
            f"run `cornernet export {path} -o model.onnx` first"
        )
    import torch

    from cornernet.trainer.deploy.torch_backend import TorchBackend
    from cornernet.trainer.network.checkpoint import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchBackend(*load_checkpoint(path), device=device, compiled=compiled)


@contextmanager
def open_detector(
    path: str | Path,
    *,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Iterator[Detector]:
    """A detector over any model file, closed in the end. `settings`: of `Detector`."""
    backend = open_model(path, runtime=runtime, precision=precision, threads=threads)
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
