"""Any model file as a running backend: the torch checkpoint is the reference, ONNX and engines are what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cornernet.engine.backends import Backend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
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
    path: str | Path, *, threads: int | None = None, compiled: bool = False, device: str | None = None
) -> Backend:
    """Any model file: `.safetensors` by `open_weights`, everything else by `open_backend`.

    threads: of one operator on the CPU; default: the runtime's own choice. compiled: checkpoints through torch.compile.
    device: "cpu", "cuda" or "cuda:1"; None: the runtime's own choice. The caller closes the backend.

    Raises:
        ModelError: the file cannot be used. BackendError: its runtime or the device is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return open_weights(path, device=device, compiled=compiled, threads=threads)
    options: dict[str, Any] = {"threads": threads} if threads and suffix == ".onnx" else {}
    return open_backend(path, **options, **_on_device(suffix, device))


def _on_device(suffix: str, device: str | None) -> dict[str, Any]:
    """What the runtimes of other files call a device. Raises BackendError for one that they cannot use."""
    if device is None:
        return {}
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise BackendError(f"device {device!r}: expected cpu, cuda, or cuda:1 for the second GPU.")
    if suffix != ".onnx":
        if kind == "cpu":
            raise BackendError(
                "a TensorRT engine runs on a GPU only; on the CPU give the .onnx file it was built from."
            )
        return {"device": int(number or 0)}
    if kind == "cpu":
        return {"providers": ["CPUExecutionProvider"]}
    return {"providers": [("CUDAExecutionProvider", {"device_id": int(number or 0)})]}


@contextmanager
def open_detector(path: str | Path, *, device: str | None = None, **settings: Any) -> Iterator[Detector]:
    """A detector over any model file, closed in the end. device: see `open_model`; `settings`: of `Detector`."""
    backend = open_model(path, device=device)
    try:
        with Detector(backend, **settings) as detector:
            yield detector
    finally:
        backend.close()


def runtime_of(backend: Backend) -> str:
    """What runs it, such as 'ONNX Runtime CPU': for ONNX Runtime the provider that really started."""
    providers = getattr(backend, "active_providers", None)
    return f"{backend.name} {providers[0].removesuffix('ExecutionProvider')}" if providers else backend.name


def sha256_of(path: str | Path) -> str:
    """Which file it was, whatever its name."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
