"""What every runtime has to give back (the ONNX contract), and the check that it did."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cornernet.engine.backends import Backend, RawDetections
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import OUTPUTS, ModelCard


class Output(NamedTuple):
    """One of the five outputs: its rank, the length of its last axis where the contract fixes it, its type."""

    rank: int
    width: int | None
    dtype: str


CONTRACT = dict(
    zip(
        OUTPUTS,
        (
            Output(3, 4, "float32"),
            Output(2, None, "float32"),
            Output(3, 2, "float32"),
            Output(2, None, "int32"),
            Output(1, None, "int32"),
        ),
    )
)


def check_detections(raw: RawDetections, images: int, card: ModelCard, runtime: str) -> None:
    """Raise BackendError unless `raw` is what the contract promises for `images` canvases and the card's classes.

    A damaged file, or one whose card is of another network, otherwise ends in an index error far from its cause.
    """
    rows = raw.scores.shape[1] if raw.scores.ndim == 2 else 0
    for (name, (rank, width, dtype)), values in zip(CONTRACT.items(), raw, strict=True):
        expected = (images, rows, width)[:rank] if width else (images, rows)[:rank]
        if values.shape != expected or values.dtype != dtype:
            raise BackendError(
                f"{runtime} gave {name} of shape {values.shape} and type {values.dtype}; expected {expected} {dtype}. "
                "Export the model again."
            )
    if raw.counts.min(initial=0) < 0 or raw.counts.max(initial=0) > rows:
        raise BackendError(
            f"{runtime} gave counts from {raw.counts.min()} to {raw.counts.max()}; expected 0 to {rows}. "
            "Export the model again."
        )
    used = raw.labels[np.arange(rows) < raw.counts[:, None]]
    if used.size and not 0 <= used.min() <= used.max() < len(card.class_names):
        raise BackendError(
            f"{runtime} gave labels from {used.min()} to {used.max()}, but the card names {len(card.class_names)} "
            "classes: it belongs to another network. Export the model again."
        )


def batches_in_flight(backend: Backend) -> int:
    """How many batches the backend wants at once, each `run` called from a thread of its own."""
    return max(1, getattr(backend, "in_flight", 1))


def computes_on_cpu(backend: Backend) -> bool:
    """Whether `run` needs the cores that also read and place images."""
    return bool(getattr(backend, "computes_on_cpu", False))


def allocate(backend: Backend, size: int) -> np.ndarray:
    """(size,) uint8 of memory that the backend reads without another copy."""
    own = getattr(backend, "allocate", None)
    memory: np.ndarray = np.empty(size, np.uint8) if own is None else own(size)
    return memory
