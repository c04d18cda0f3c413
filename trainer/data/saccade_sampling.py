"""A picture as a CornerNet-Saccade learns it: a crop around one object, corners and attention as targets."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from cornernet.engine.model_card import ModelCard
from cornernet.trainer.data.augment import AugmentConfig, cut_window, fill_of, network_input
from cornernet.trainer.data.crop import (
    CropConfig,
    boxes_in_crop,
    crop_window,
    has_corners,
    mirrored,
    random_crop,
    shown,
)
from cornernet.trainer.data.saccade_targets import saccade_targets
from cornernet.trainer.data.sampling import Example
from cornernet.trainer.data.targets import Radius


@dataclass(frozen=True)
class SaccadeSampling:
    """See crop.py and saccade_targets.py. The card is one of a CornerNet-Saccade, which says how long large and medium
    objects are and how fine the attention maps.

    side: of the canvas [px]; stride: canvas pixels per heatmap cell; augment: of it mirroring and colours.
    """

    card: ModelCard
    side: int
    stride: int
    crops: CropConfig = field(default_factory=CropConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    radius: Radius = "object"

    @property
    def bounds(self) -> tuple[int, int]:
        """Longer side above which an object is large, above which it is medium [px]."""
        assert self.card.saccade is not None
        large, medium = self.card.saccade.reference_bounds
        return round(large), round(medium)

    def stored_size(self, full: tuple[int, int]) -> tuple[int, int]:
        """Whole: a crop may magnify any part."""
        return full

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Example:
        assert self.card.saccade is not None
        size, side, config, bounds = (image.shape[0], image.shape[1]), self.side, self.crops, self.bounds
        crop = random_crop(boxes, size, rng, side=side, bounds=bounds, config=config)
        canvas = cut_window(image, crop_window(crop, size, side, config), (side, side), fill=fill_of(self.card))
        if config.window == "official":
            _, _, right, bottom = (int(end) for end in shown(crop, size, side, config))
            canvas[bottom:], canvas[:, right:] = fill_of(self.card), fill_of(self.card)
        found = boxes_in_crop(boxes, size, crop, side=side, config=config)
        counts = has_corners(found, bounds, config)
        on_canvas = found.boxes
        if rng.random() < self.augment.flip:
            canvas, on_canvas = cv2.flip(canvas, 1), mirrored(on_canvas, side, config)
        targets = saccade_targets(
            on_canvas,
            labels[found.kept],
            counts,
            num_classes=len(self.card.class_names),
            side=side,
            stride=self.stride,
            attention_strides=self.card.saccade.attention_strides,
            bounds=bounds,
            radius=self.radius,
        )
        return Example(network_input(canvas, rng, self.augment, self.card), targets)
