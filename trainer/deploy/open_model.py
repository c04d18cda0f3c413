"""Any model file as a running backend: the torch checkpoint is the reference, ONNX and engines are what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cornernet.engine.backends import Backend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ModelCard


def open_model(path: str | Path, *, threads: int | None = None, compiled: bool = False) -> Backend:
    """`.safetensors` in torch (on a GPU if there is one), everything else by `open_backend`.

    threads: of one operator on the CPU; default: the runtime's own choice. compiled: checkpoints through torch.compile.
    The caller closes the backend.

    Raises:
        ModelError: the file cannot be used. BackendError: its runtime is missing. ModuleNotFoundError: no torch.
    """
    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        options: dict[str, Any] = {"threads": threads} if threads and path.suffix.lower() == ".onnx" else {}
        return open_backend(path, **options)
    import torch

    from cornernet.trainer.deploy.torch_backend import TorchBackend
    from cornernet.trainer.network.checkpoint import load_checkpoint

    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchBackend(*load_checkpoint(path), device=device, compiled=compiled)


@contextmanager
def open_detector(
    path: str | Path, *, resize: str | None = None, size: Size | None = None, protocol: str = "default", **settings: Any
) -> Iterator[Detector]:
    """A detector over any model file, closed in the end. `settings`: of `Detector`.

    resize None: "fit" where a size is given or the card knows the canvas of training, as validation does, unless a
    protocol of another project is asked for, which keeps the resolution.
    """
    backend = open_model(path)
    try:
        if resize is None:
            fits = size is not None or (protocol == "default" and backend.card.train_size is not None)
            resize = "fit" if fits else "original"
        with Detector(backend, resize=resize, size=size, protocol=protocol, **settings) as detector:  # type: ignore[arg-type]
            yield detector
    finally:
        backend.close()


def runtime_of(backend: Backend) -> str:
    """What runs it, such as 'ONNX Runtime CPU': for ONNX Runtime the provider that really started."""
    providers = getattr(backend, "active_providers", None)
    return f"{backend.name} {providers[0].removesuffix('ExecutionProvider')}" if providers else backend.name


def default_canvas(card: ModelCard) -> Size:
    """(height, width) [px]: the training size, else the legal square of at most 512."""
    if card.train_size is not None:
        return card.train_size
    side = max(card.size_multiple, min(card.max_size, 512) // card.size_multiple * card.size_multiple)
    return side, side


def sha256_of(path: str | Path) -> str:
    """Which file it was, whatever its name."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
