"""Any model file as a detector, any checkpoint as its network, both on the same canvas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from cornernet.engine.backends import Backend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.checkpoint import load_checkpoint
from cornernet.trainer.torch_backend import TorchBackend

Resize = Literal["original", "fit"]


@contextmanager
def open_detector(model: Path, resize: Resize | None = None, *, device: str = "cpu") -> Iterator[Detector]:
    """A detector over a checkpoint (.safetensors), an ONNX file or a TensorRT engine, closed in the end.

    Raises ModelError and BackendError as `open_backend`, `load_checkpoint` and `analysis_canvas` do.
    """
    backend: Backend
    if model.suffix.lower() == ".safetensors":
        backend = TorchBackend(*load_checkpoint(model), device=torch.device(device))
    else:
        backend = open_backend(model)
    try:
        size = analysis_canvas(backend.card, resize)
        with Detector(backend, resize="fit" if size else "original", size=size) as detector:
            yield detector
    finally:
        backend.close()


def analysis_canvas(card: ModelCard, resize: Resize | None) -> Size | None:
    """The one canvas (height, width) [px] that images are scaled to; None: each keeps its resolution (section 4.2).

    resize None: the canvas of training where the card knows it, as validation does, else the original resolution.
    Raises ModelError if "fit" is asked of a card without a training size.
    """
    if resize == "original":
        return None
    if resize == "fit" and card.train_size is None:
        raise ModelError(f"{card.name}: its card has no training size to fit images to; use --resize original")
    return card.train_size
