"""What a CornerNet-Saccade sees of an image: first all of it, then the places that the first look found worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from cornernet.engine.backends import Outputs, SaccadeDetections
from cornernet.engine.backends.placing import Part
from cornernet.engine.geometry import Placed, Size
from cornernet.engine.model_card import ModelCard, Saccade
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.views import Found
from cornernet.engine.saccade.cuts import Cut, cut, part_of, place_cut, view
from cornernet.engine.saccade.locations import attention_locations, box_locations, thin_out

MOST_CROPS = 1000
"""Of an image, that can be asked for."""

TOGETHER = 32
"""Canvases that the model gets at once, however few images do: the official code's batch of crops."""


@dataclass(frozen=True)
class TwoLooks:
    """The plan of a card that says it is a Saccade, in place of `ViewPlan`: no resolution is kept, nothing mirrored.

    max_crops: so many crops an image at most. Their boxes and the views' are suppressed together, in image pixels.
    """

    card: ModelCard
    protocol: Protocol
    max_crops: int

    looks: ClassVar[int] = 2
    together: ClassVar[int] = TOGETHER

    @property
    def whole_levels(self) -> bool:
        return self.protocol.saccade.whole_levels

    @property
    def fit(self) -> Size:
        """(height, width) [px] of every canvas."""
        assert self.card.train_size is not None
        return self.card.train_size

    @property
    def saccade(self) -> Saccade:
        assert self.card.saccade is not None
        return self.card.saccade

    def placements(self, image: Size, found: Sequence[Found] = ()) -> list[Placed]:
        """The views of an image of (height, width) [px]; with what was found in them, its crops."""
        return [*self.crops(image, found)] if found else [*self.views(image)]

    def views(self, image: Size) -> list[Cut]:
        rules = self.protocol.saccade
        return [view(image, size, self.fit[0], self.card.stride, rules) for size in self.saccade.view_sizes]

    def crops(self, image: Size, found: Sequence[Found]) -> list[Cut]:
        """At most `max_crops`, best first. A window that misses the image is left out: there is nothing to see."""
        rules = self.protocol.saccade
        best = thin_out(self.locations(image, found), rules, most=self.max_crops)
        crops = (cut(image, (y, x), scale, self.fit[0], self.card.stride, rules) for y, x, scale, _ in best.tolist())
        return [crop for crop in crops if not crop.is_empty]

    def locations(self, image: Size, found: Sequence[Found]) -> np.ndarray:
        """Locations (n, 4) before they are thinned out: of the attention of each view, then of the views' boxes."""
        saccade, rules = self.saccade, self.protocol.saccade
        of_attention, of_boxes = [], []
        for raw, row, seen in found:
            assert isinstance(raw, SaccadeDetections) and isinstance(seen, Cut)
            scores, cells = raw.attention_scores[row], raw.attention_cells[row]
            of_attention.append(attention_locations(scores, cells, seen, saccade, rules))
            count = int(raw.counts[row])
            boxes = seen.to_image(raw.boxes[row, :count], self.protocol)
            of_boxes.append(box_locations(boxes, raw.scores[row, :count], image, saccade, rules))
        return np.concatenate(of_attention + of_boxes)

    def place(self, pixels: np.ndarray, placement: Placed, out: np.ndarray) -> None:
        """Write one canvas (side, side, 3) from the image's pixels (H, W, 3) uint8 BGR."""
        assert isinstance(placement, Cut)
        place_cut(pixels, placement, self.card, self.protocol.saccade, out)

    def part(self, pixels: Size, placement: Placed) -> Part:
        assert isinstance(placement, Cut) and placement.image == pixels, "images of a Saccade are never reduced"
        return part_of(placement, self.protocol.saccade)

    def kept(self, found: Sequence[Found]) -> list[Found]:
        """The rows that enter the result: those above a score, the views' and the crops' own."""
        views = len(self.saccade.view_sizes)
        lowest = [self.saccade.view_threshold] * views
        lowest += [self.protocol.saccade.crop_threshold] * (len(found) - views)
        return [_above(*one, threshold) for one, threshold in zip(found, lowest)]

    def reduction(self, image: Size) -> int:
        """1: crops show the image at its own resolution."""
        return 1


def _above(raw: Outputs, row: int, placement: Placed, threshold: float) -> Found:
    """One canvas without its rows of at most `threshold`; they lie in descending order."""
    count = int((raw.scores[row, : raw.counts[row]] > np.float32(threshold)).sum())
    counts = raw.counts.copy()
    counts[row] = count
    return raw._replace(counts=counts), row, placement


def saccade_protocol(protocol: Protocol) -> Protocol:
    """`protocol` as the code of the Saccade follows it: it takes what soft-NMS returns, without the stale rows."""
    return replace(protocol, keep_stale=False)
