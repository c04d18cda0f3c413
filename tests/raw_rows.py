"""Rows as CornerGroup leaves them, and placements that they may lie on: for soft-NMS on a device beside the host's."""

from __future__ import annotations

import numpy as np

from cornernet.engine.backends import RawDetections
from cornernet.engine.geometry import place_fit, place_original
from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.engine.protocol import Protocol

CARD = ModelCard(
    name="any",
    class_names=("a", "b", "c"),
    category_ids=(1, 2, 3),
    stride=4,
    size_multiple=32,
    max_size=1024,
    train_size=(64, 96),
    decoder=Decoder(),
)
PLACEMENTS = [
    place_fit((97, 133), (96, 96), Protocol("any")),
    place_fit((61, 40), (128, 96), Protocol("any")).mirror("edges"),
    place_original((90, 110), CARD, Protocol("any")),
]


def found(images: int, rows: int, *, levels: int, classes: int, seed: int) -> RawDetections:
    """Best first, any number of rows used; many boxes overlap, some lie off the picture. levels: of the scores, so that
    they tie; 0: any."""
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.random((images, rows)), axis=1)[:, ::-1].astype(np.float32)
    if levels:
        scores = (np.floor(scores * levels) / levels).astype(np.float32)
    corner = rng.uniform(-20, 120, (images, rows, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 60, corner.shape)], axis=2).astype(np.float32)
    labels = rng.integers(0, classes, (images, rows), np.int32)
    counts = rng.integers(0, rows + 1, images, np.int32)
    counts[0] = rows
    return RawDetections(boxes, scores, np.zeros((images, rows, 2), np.float32), labels, counts)
