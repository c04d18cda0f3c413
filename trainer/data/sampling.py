"""How a picture becomes a sample: what the network sees of it, and what it should answer.

Each kind of network has a way of its own: CornerSampling here, SaccadeSampling in saccade_sampling.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from cornernet.engine.model_card import ModelCard
from cornernet.trainer.data.augment import AugmentConfig, augment
from cornernet.trainer.data.targets import Radius, corner_targets

_WORTH_SHRINKING = 0.75
"""Images are shrunk on reading if that leaves at most this much of their sides."""


class Example(NamedTuple):
    """image (H, W, 3) float32, normalised, channel order of the card; targets: a NamedTuple of arrays, or of such."""

    image: np.ndarray
    targets: Any


class Sampling(Protocol):
    """A function of its arguments: the same state of `rng` gives the same example."""

    def stored_size(self, full: tuple[int, int]) -> tuple[int, int]:
        """(height, width) [px] at which a picture of this size still shows everything that a sample can."""

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Example:
        """image (h, w, 3) uint8 BGR; boxes (n, 4) [px, image]; labels (n,) class index from 0."""


@dataclass(frozen=True)
class CornerSampling:
    """A random view (augment.py), and corners as targets.

    size: (H, W) of the canvas [px]; stride: canvas pixels per heatmap cell.
    """

    card: ModelCard
    size: tuple[int, int]
    stride: int
    config: AugmentConfig = field(default_factory=AugmentConfig)
    radius: Radius = "object"

    def stored_size(self, full: tuple[int, int]) -> tuple[int, int]:
        """As large as the augmentation, zoomed in most, can show it."""
        fit = min(canvas / side for canvas, side in zip(self.size, full))
        factor = fit / min(self.config.scales)
        if self.config.resize == "original" or factor > _WORTH_SHRINKING:
            return full
        return max(1, round(factor * full[0])), max(1, round(factor * full[1]))

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Example:
        view = augment(image, boxes, labels, rng, size=self.size, config=self.config, card=self.card)
        targets = corner_targets(
            view.boxes,
            view.labels,
            num_classes=len(self.card.class_names),
            input_size=self.size,
            map_size=(-(-self.size[0] // self.stride), -(-self.size[1] // self.stride)),
            radius=self.radius,
        )
        return Example(view.image, targets)
