"""Windows of an image on square canvases: views, which show all of it, and crops, which show a part of it larger.

Both are cut by the same rule from the whole image, which is never scaled beforehand: a window of `side / scale` image
pixels around a location, bilinearly resized onto the canvas, black where it leaves the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cornernet.engine.backends.placing import Part
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol, SaccadeRules
from cornernet.engine.reading.preprocess import averages_areas

Span = tuple[int, int]
"""First pixel, and the one behind the last."""


@dataclass(frozen=True)
class Cut:
    """One window on its canvas. All pairs are (vertical, horizontal).

    image, canvas: (height, width) [px].
    source: the part of the image that is shown [px, image]; target: where it is shown [px, canvas]. Both may be empty.
    zoom:   the scale that was asked for [canvas px / image px].
    scale:  the factors that boxes are divided by on their way back [canvas px / image px].
    origin: where the canvas begins in the image [px, image]; negative beyond its edges.
    """

    image: Size
    canvas: Size
    source: tuple[Span, Span]
    target: tuple[Span, Span]
    zoom: float
    scale: tuple[float, float]
    origin: tuple[float, float]

    @property
    def is_empty(self) -> bool:
        """True if nothing of the image is seen: the official code fails to resize to no pixels."""
        return any(first >= end for first, end in (*self.source, *self.target))

    def to_image(self, boxes_canvas: np.ndarray, protocol: Protocol) -> np.ndarray:
        """Boxes (n, 4) [px, canvas] -> (n, 4) float32 [px, image]; clipped to the image if the protocol says so."""
        (top, left), (vertical, horizontal) = self.origin, self.scale
        # float32 after each step, as officially: it decides which whole pixel a box of the views is centred on.
        boxes = (boxes_canvas / np.array((horizontal, vertical, horizontal, vertical))).astype(np.float32)
        boxes += np.array((left, top, left, top), np.float32)
        if protocol.saccade.clip_boxes:
            height, width = self.image
            boxes = np.clip(boxes, 0, np.array((width, height, width, height), np.float32))
        return boxes


def view(image: Size, size: int, side: int, cell: float, rules: SaccadeRules) -> Cut:
    """All of an image of (height, width) [px] with its longer side `size` [px] long, on a canvas of side x side.

    cell: canvas pixels of one cell [px/cell].
    """
    margin = clear_margin(cell, rules)
    longer = min(float(size), max(1.0, side - 2 * margin)) if rules.clear_border else size
    if rules.full_window:
        return cut(image, (image[0] / 2, image[1] / 2), longer / max(image), side, cell, rules)
    scale = np.float32(longer / max(image))
    extent = float(np.float32(side) / scale) if rules.float32_size else None
    return cut(image, (image[0] // 2, image[1] // 2), float(scale), side, cell, rules, extent=extent)


def cut(
    image: Size,
    centre: tuple[float, float],
    scale: float,
    side: int,
    cell: float,
    rules: SaccadeRules,
    *,
    extent: float | None = None,
) -> Cut:
    """A window around `centre` (y, x) [px, image], `scale` times as large on a canvas of side x side [px].

    scale: above 0. extent: side of the window [px, image]; None: side / scale.
    """
    if rules.clear_border:
        margin = clear_margin(cell, rules)
        centre = _clear(centre[0], image[0], scale, side, margin), _clear(centre[1], image[1], scale, side, margin)
    extent = side / scale if extent is None else extent
    axis = _full_axis if rules.full_window else _official_axis
    rows, columns = (axis(place, length, scale, side, extent) for place, length in zip(centre, image))
    (y0, y1), (t0, t1), top = rows
    (x0, x1), (l0, l1), left = columns
    factors, origin = (scale, scale), (top, left)
    if rules.exact_affine and t1 > t0 and l1 > l0 and y1 > y0 and x1 > x0:
        factors = (t1 - t0) / (y1 - y0), (l1 - l0) / (x1 - x0)
        origin = y0 - t0 / factors[0], x0 - l0 / factors[1]
    return Cut(image, (side, side), ((y0, y1), (x0, x1)), ((t0, t1), (l0, l1)), scale, factors, origin)


def _official_axis(centre: float, length: int, scale: float, side: int, extent: float) -> tuple[Span, Span, float]:
    """Source, target and origin of one axis. Whole pixels, toward zero; the canvas' last row is never reached."""
    place, whole = int(centre), int(extent)
    if whole < 1:
        return (0, 0), (0, 0), float(place)
    half, zoom = whole // 2, side / whole
    first, end = max(0, place - half), min(place + half, length)
    target = side // 2 - int((place - first) * zoom), side // 2 + int((end - place) * zoom)
    return (first, end), target, float(place - half)


def _full_axis(centre: float, length: int, scale: float, side: int, extent: float) -> tuple[Span, Span, float]:
    """The same with the whole window on the whole canvas; an image that it meets has one pixel of both at least."""
    begin = centre - extent / 2
    first, end = max(0, round(begin)), min(round(begin + extent), length)
    if end <= first and -0.5 <= centre <= length + 0.5:  # a window smaller than a pixel
        first = min(max(0, int(centre)), length - 1)
        end = first + 1
    start, stop = (min(max(0, round((edge - begin) * scale)), side) for edge in (first, end))
    if stop <= start and end > first:
        start = min(start, side - 1)
        stop = start + 1
    return (first, end), (start, stop), begin


def clear_margin(cell: float, rules: SaccadeRules) -> float:
    """Canvas pixels that keep an edge of the image out of the border cells, whatever is rounded [px]."""
    return cell if rules.full_window else cell + 2


def _clear(centre: float, length: int, scale: float, side: int, margin: float) -> float:
    """The centre of one axis moved so far that edges of the image that lie on the canvas are `margin` [px] inside."""
    half = side / (2 * scale)
    before, after = (half - centre) * scale, (half - (length - centre)) * scale  # beyond the image [px, canvas]
    on_canvas = -scale / 2  # an edge that is cut by less than half of an image pixel is shown whole
    if before >= on_canvas and after >= on_canvas:
        return length / 2 if min(before, after) < margin else centre
    if on_canvas <= before < margin:
        return centre - (margin - before) / scale
    return centre + (margin - after) / scale if on_canvas <= after < margin else centre


def place_cut(image: np.ndarray, cut: Cut, card: ModelCard, rules: SaccadeRules, out: np.ndarray) -> None:
    """Write the canvas of `cut` into out (side, side, 3) uint8, in the card's channel order, padded with its fill.

    image (H, W, 3) uint8 BGR. The official canvas is never rounded; ours differs from it by half a grey level at most,
    and not at all where `out` is float32, in grey levels too.
    """
    if len(set(card.fill)) == 1:  # half a millisecond less than three values
        out.fill(card.fill[0])
    else:
        out[:] = card.fill
    if cut.is_empty:
        return
    (rows, columns), (target_rows, target_columns) = cut.source, cut.target
    size = _lengths(cut.target)
    content = _resize(image[slice(*rows), slice(*columns)], size, antialias=rules.antialias)
    if out.dtype == np.uint8:
        content = np.rint(content)
    if card.channel_order == "rgb":
        content = content[..., ::-1]
    out[slice(*target_rows), slice(*target_columns)] = content


def part_of(cut: Cut, rules: SaccadeRules) -> Part:
    """What `place_cut` does, for a device that does it itself."""
    if cut.is_empty:  # nothing is shown of one pixel
        return Part((0, 0), (1, 1), (1, 1), "bilinear_floats", top=0, left=0, shown=(0, 0))
    source, size = _lengths(cut.source), _lengths(cut.target)
    return Part(
        first=(cut.source[0][0], cut.source[1][0]),
        source=source,
        resized=size,
        scaling="areas" if averages_areas(source, size, rules.antialias) else "bilinear_floats",
        top=cut.target[0][0],
        left=cut.target[1][0],
        shown=size,
    )


def _lengths(spans: tuple[Span, Span]) -> Size:
    (first, end), (left, right) = spans
    return end - first, right - left


_WHOLE = 1 << 21
"""Pixels up to which a window is converted to float32 whole, 12 bytes each: 1920 x 1080 are resized in 0.7 ms, where
picking takes 3. Of a larger one the two rows and columns that matter for each pixel of the canvas are picked first."""


def _resize(source: np.ndarray, size: Size, *, antialias: bool) -> np.ndarray:
    """(H, W, 3) uint8 -> (*size, 3) float32, bilinear: OpenCV's uint8 is up to 0.8 grey levels off."""
    (height, width), (rows, columns) = source.shape[:2], size
    if averages_areas((height, width), size, antialias):
        return cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    if height * width <= _WHOLE:
        return cv2.resize(source.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
    above, below, down = _neighbours(height, rows)
    left, right, along = _neighbours(width, columns)
    picked = source[np.stack((above, below))[:, :, None], np.concatenate((left, right))].astype(np.float32)
    upper, lower = _between(picked[:, :, :columns], picked[:, :, columns:], along[:, None])
    return _between(upper, lower, down[:, None, None])


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """In float32 as OpenCV has it on x86: multiplied and added with one rounding, for which a double has room."""
    mixed: np.ndarray = (first + (second - first) * share.astype(np.float64)).astype(np.float32)
    return mixed


def _neighbours(length: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of `target` pixels the two it lies between among `length`, half-pixel centres, and how far along."""
    place = np.maximum((np.arange(target) + 0.5) * (length / target) - 0.5, 0)
    first = np.minimum(place.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), (place - first).astype(np.float32)
