"""Batches that come back final: what `run_final` takes and gives, for backends that post-process on their device.

Contract of the kernel: plugins/kernels/corner_soft_nms.h. engine/results/device_rules.py makes these from a Detector's
settings; what the host does instead is engine/results/postprocess.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cornernet.engine.backends import Backend
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import ModelCard

PLACEMENT_FIELDS = 9


class NmsRules(NamedTuple):
    """The kernel's settings, by its names; min_score: float32, above 0."""

    limit: int
    method: str | None
    sigma: float
    iou_threshold: float
    min_score: float
    iou_pixel: int
    drop_empty: bool


class Finishing(NamedTuple):
    """How a batch becomes final. stays: boxes, scores and labels stay on the device."""

    rules: NmsRules
    stays: bool = False


class Final(NamedTuple):
    """One image's boxes (m, 4) float32 [px, image], scores (m,) float32, labels (m,) int32, best first: of numpy, or
    the backend's own arrays on its device."""

    boxes: Any
    scores: Any
    labels: Any


def finishes(backend: Backend) -> bool:
    """Whether batches may come back from the backend final."""
    return bool(getattr(backend, "finishes", False))


def split(boxes: Any, scores: Any, labels: Any, counts: np.ndarray) -> list[Final]:
    """Arrays of a batch, (N, limit, ...), as one `Final` an image: views of its first `counts` (N,) rows."""
    return [Final(boxes[row, :n], scores[row, :n], labels[row, :n]) for row, n in enumerate(counts.tolist())]


def check_final(found: list[Final], images: int, card: ModelCard, runtime: str) -> None:
    """Raise BackendError unless there is a result for each of `images`, with labels of the card's classes as far as
    they can be seen from the host."""
    if len(found) != images:
        raise BackendError(f"{runtime} gave {len(found)} results for {images} images. Export the model again.")
    for _, _, labels in found:
        if (
            isinstance(labels, np.ndarray)
            and labels.size
            and not 0 <= labels.min() <= labels.max() < len(card.class_names)
        ):
            raise BackendError(
                f"{runtime} gave labels from {labels.min()} to {labels.max()}, but the card names "
                f"{len(card.class_names)} classes: it belongs to another network. Export the model again."
            )
