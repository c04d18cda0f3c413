"""Where an image lies on its canvas, and the way back. The only place where coordinates change frame.

Frames: image [px] and canvas [px], x right, y down, both measured at pixel edges: an image of width w spans 0..w.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from typing import Protocol as Interface

import numpy as np

from cornernet.engine.errors import ImageError, ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Canvas, Protocol

Size = tuple[int, int]
"""(height, width) [px]."""

Mirror = Literal["edges", "pixels"]
"""See `ModelCard.trained_mirror`."""


class Placed(Interface):
    """What the stages ask of one canvas: its size (height, width) [px], and the way back from it."""

    @property
    def canvas(self) -> Size: ...

    def to_image(self, boxes_canvas: np.ndarray, protocol: Protocol) -> np.ndarray:
        """Boxes (n, 4) float32 [px, canvas] -> (n, 4) float32 [px, image]."""
        ...


@dataclass(frozen=True)
class Placement:
    """One view of an image on a canvas.

    image, resized, canvas: (height, width) [px] before and after scaling, and of the whole canvas.
    top, left: where the resized image begins on the canvas [px].
    shown:     (height, width) [px] of the resized image that is copied; less only by the official quirk.
    scale:     (vertical, horizontal) [canvas px / image px], the factors that boxes are divided by.
    mirrored:  None, or the whole canvas is mirrored left to right, and how training did it (the card's
        `trained_mirror`).
    """

    image: Size
    resized: Size
    canvas: Size
    top: int
    left: int
    shown: Size
    scale: tuple[float, float]
    mirrored: Mirror | None = None

    def mirror(self, trained_mirror: Mirror = "edges") -> Placement:
        """The same placement on the mirrored canvas."""
        return replace(self, mirrored=trained_mirror)

    def to_image(self, boxes_canvas: np.ndarray, protocol: Protocol) -> np.ndarray:
        """Boxes (n, 4) float32 [px, canvas] -> (n, 4) float32 [px, image], un-mirrored and clipped."""
        edges = boxes_canvas.T.astype(np.float64)  # (4, n): numpy is slow over an innermost axis of 4
        columns, rows = edges[0::2], edges[1::2]
        if self.mirrored:
            edges[[0, 2]] = self.mirror_axis(protocol) - edges[[2, 0]]
        columns -= self.left
        rows -= self.top
        np.maximum(edges, 0, out=edges)
        if protocol.clip_far_side:
            np.minimum(columns, self.resized[1], out=columns)
            np.minimum(rows, self.resized[0], out=rows)
        vertical, horizontal = self.scale
        columns /= horizontal
        rows /= vertical
        return edges.astype(np.float32).T

    def to_canvas(self, boxes_px: np.ndarray, protocol: Protocol) -> np.ndarray:
        """Boxes (n, 4) [px, image] -> (n, 4) float32 [px, canvas]: the inverse of `to_image`, but for its clipping."""
        vertical, horizontal = self.scale
        boxes = boxes_px * np.array((horizontal, vertical, horizontal, vertical))
        boxes += (self.left, self.top, self.left, self.top)
        if self.mirrored:
            boxes[:, [0, 2]] = self.mirror_axis(protocol) - boxes[:, [2, 0]]
        return boxes.astype(np.float32)

    def mirror_axis(self, protocol: Protocol) -> int:
        """The a of x -> a - x [px, canvas]."""
        if protocol.mirror_axis == "image":
            return 2 * self.left + self.resized[1]
        undoes_pixels = protocol.mirror_axis == "training" and self.mirrored == "pixels"
        return self.canvas[1] - 1 if undoes_pixels else self.canvas[1]


def canvas_side(side_px: int, multiple: int, canvas: Canvas) -> int:
    """The canvas side [px] for an image side [px]: the next multiple, or the official next multiple minus one."""
    if canvas == "official":
        return (side_px // multiple + 1) * multiple - 1
    return -(-side_px // multiple) * multiple


def fit_canvas(size: Size, card: ModelCard, *, scale: float = 1.0) -> Size:
    """The canvas of `size` (height, width) [px] times `scale`, each side rounded up to one that the model takes.

    Raises ModelError if `size` itself, or its scaled canvas, does not suit the model.
    """
    scaled = [round(side * scale) for side in size]
    height, width = size if scale == 1 else (canvas_side(side, card.size_multiple, "multiple") for side in scaled)
    if not (card.is_legal_side(height) and card.is_legal_side(width)):
        raise ModelError(
            f"a canvas of {height}x{width} (height x width) does not suit this model; "
            f"expected multiples of {card.size_multiple} up to {card.max_size}"
        )
    return height, width


def place_original(image: Size, card: ModelCard, protocol: Protocol, *, scale: float = 1.0) -> Placement:
    """Keep the resolution times `scale`, centre, pad: the paper's protocol (section 4.2).

    Raises ImageError if the canvas would be longer than the model accepts.
    """
    height, width = (max(1, int(side * scale)) for side in image)
    canvas = tuple(canvas_side(side, card.size_multiple, protocol.canvas) for side in (height, width))
    if max(canvas) > card.max_size:
        raise ImageError(
            f"image of {image[1]}x{image[0]} pixels at scale {scale:g} needs a canvas of {canvas[1]}x{canvas[0]}, "
            f'but this model accepts sides up to {card.max_size}. Use resize="fit", a smaller scale, '
            "or export with a larger --max-size."
        )
    factors = (scale, scale) if protocol.nominal_scale else (height / image[0], width / image[1])
    return _centred(image, (height, width), (canvas[0], canvas[1]), factors, protocol)


def place_fit(image: Size, canvas: Size, protocol: Protocol) -> Placement:
    """Scale to fit a fixed canvas, keep the aspect ratio, centre."""
    factor = min(canvas[0] / image[0], canvas[1] / image[1])
    height, width = (min(limit, max(1, round(side * factor))) for side, limit in zip(image, canvas))
    return _centred(image, (height, width), canvas, (height / image[0], width / image[1]), protocol)


def _centred(image: Size, resized: Size, canvas: Size, scale: tuple[float, float], protocol: Protocol) -> Placement:
    """Image centre (rounded down) on canvas centre (rounded down), as the official `crop_image`."""
    top, left = canvas[0] // 2 - resized[0] // 2, canvas[1] // 2 - resized[1] // 2
    shown = resized
    if not protocol.keep_last_row:
        # Its crop reaches from centre - canvas // 2 to centre + canvas // 2: one short of an odd canvas that is full.
        shown = (min(resized[0], canvas[0] // 2 * 2), min(resized[1], canvas[1] // 2 * 2))
    return Placement(image, resized, canvas, top, left, shown, scale)
