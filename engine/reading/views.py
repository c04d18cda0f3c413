"""What the network has to see of each image, and how views of many images share batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from typing import Protocol as Interface

import numpy as np

from cornernet.engine.arguments import choice, flag, number, shown
from cornernet.engine.arguments import size as check_size
from cornernet.engine.backends import Outputs
from cornernet.engine.backends.placing import Part
from cornernet.engine.errors import ImageError
from cornernet.engine.geometry import Placed, Placement, Size, fit_canvas, place_fit, place_original
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.preprocess import averages_areas, place_on_canvas

Resize = Literal["original", "fit"]

Decode = Literal["exact", "fast"]
"""Whether a JPEG much larger than its canvas may be decoded at a fraction of its size, see `ViewPlan.reduction`."""

SMALLEST_SCALE, LARGEST_SCALE = 0.01, 100.0
"""Factors beyond these leave nothing of a picture, or more than any canvas holds."""


Found = tuple[Outputs, int, Placed]
"""Outputs of a batch, the row of one view in it, and where the image lay on that row's canvas."""


@dataclass(frozen=True)
class View:
    """One canvas to run: the image (its position in the window), which of its views this is, and where it lies."""

    image: int
    order: int
    placement: Placed


class Looks(Interface):
    """How a network looks at an image; see `ViewPlan`, which is the usual way."""

    looks: ClassVar[int]
    """How often it looks. All views of a look are run before the next is planned."""

    together: ClassVar[int]
    """Canvases that the model gets at once even where fewer are asked for: a network that makes many of one image."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def whole_levels(self) -> bool:
        """Whether canvases are uint8; False: float32 where the backend takes that."""
        ...

    @property
    def protocol(self) -> Protocol: ...

    @property
    def fit(self) -> Size | None:
        """(height, width) [px] of the one canvas of all images; None: they differ."""
        ...

    def placements(self, image: Size, found: Sequence[Found] = ()) -> Sequence[Placed]:
        """What to look at next in an image of (height, width) [px], after what was `found`. Raises ImageError."""
        ...

    def place(self, pixels: np.ndarray, placement: Any, out: np.ndarray) -> None:
        """Write one canvas from the image's pixels (H, W, 3) uint8 BGR into out (h, w, 3)."""
        ...

    def part(self, pixels: Size, placement: Any) -> Part:
        """What `place` does with pixels of (height, width) [px], for a device that does it itself."""
        ...

    def kept(self, found: Sequence[Found]) -> Sequence[Found]:
        """What takes part in the result."""
        ...

    def reduction(self, image: Size) -> int:
        """1, 2, 4 or 8: how much smaller the decoder may make an image of (height, width) [px]."""
        ...


@dataclass(frozen=True)
class ViewPlan:
    """Which views an image gets: every scale, plain and, if `mirror`, mirrored.

    fit: (height, width) [px] of the one canvas that all images are scaled to, times each scale; None keeps their
        resolution. ModelError if such a canvas does not suit the model.
    """

    card: ModelCard
    protocol: Protocol
    fit: Size | None
    scales: tuple[float, ...]
    mirror: bool

    looks: ClassVar[int] = 1
    together: ClassVar[int] = 1
    whole_levels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError(f"scales={self.scales}; expected one or more factors")
        for scale in self.scales:
            number("scales", scale, least=SMALLEST_SCALE, most=LARGEST_SCALE)
        if self.fit is not None:
            for scale in self.scales:
                fit_canvas(self.fit, self.card, scale=scale)

    def placements(self, image: Size, found: Sequence[Found] = ()) -> list[Placement]:
        """Scale by scale, plain before mirrored. Raises ImageError if a canvas would be too large for the model."""
        placements = []
        for scale in self.scales:
            if self.fit is None:
                plain = place_original(image, self.card, self.protocol, scale=scale)
            else:
                plain = place_fit(image, fit_canvas(self.fit, self.card, scale=scale), self.protocol)
            placements += [plain, plain.mirror(self.card.trained_mirror)] if self.mirror else [plain]
        return placements

    def place(self, pixels: np.ndarray, placement: Placement, out: np.ndarray) -> None:
        place_on_canvas(pixels, placement, self.card, self.protocol, out=out)

    def part(self, pixels: Size, placement: Placement) -> Part:
        areas = averages_areas(pixels, placement.resized, self.protocol.antialias)
        return Part(
            first=(0, 0),
            source=pixels,
            resized=placement.resized,
            scaling="areas" if areas else "bilinear",
            top=placement.top,
            left=placement.left,
            shown=placement.shown,
            mirrored=placement.mirrored is not None,
        )

    def kept(self, found: Sequence[Found]) -> Sequence[Found]:
        return found

    def reduction(self, image: Size) -> int:
        """1, 2, 4 or 8: the largest fraction of (height, width) [px] that leaves every view something to shrink.

        Whether EXIF turns the image shows only later, so both ways count; 1 where the two could not be told apart.
        """
        if self.fit is None:
            return 1
        turned = (image[1], image[0])
        try:
            views = [(side, self.placements(side)) for side in {image, turned}]
        except ImageError:
            return 1
        shrink = min(
            min(height / view.resized[0], width / view.resized[1]) for (height, width), all_ in views for view in all_
        )
        for factor in (8, 4, 2):
            alike = image != turned and -(-image[0] // factor) == -(-image[1] // factor)
            if shrink >= factor and shrink > 2 and not alike:
                return factor
        return 1


def canvas_to_fit(card: ModelCard, protocol: Protocol, resize: str | None, size: Size | None) -> Size | None:
    """The one canvas (height, width) [px] that all images are scaled to; None: each keeps its resolution.

    The rule of every verb and of `Detector`: "fit" scales to `size`, else to the card's usual canvas; "original" keeps
    the resolution (section 4.2). None: "fit" where a size is given or the card knows the canvas of training, as
    validation does, unless a protocol of another project is asked for, which keeps the resolution.
    """
    choice("resize", resize, ("original", "fit", None))
    if size is not None:
        size = check_size("size", size)
        if resize == "original":
            raise ValueError(f'size={size} with resize="original"; expected resize="fit" with a size')
    if resize is None:
        trained = protocol.name == "default" and card.train_size is not None
        resize = "fit" if size is not None or trained else "original"
    return (size or card.usual_canvas) if resize == "fit" else None


def mirrors(card: ModelCard, protocol: Protocol, asked: bool | None = None) -> bool:
    """Whether the mirrored view is run too: as `asked`, else as the weights' own project tests them, else as the
    protocol says. What a project does (`card.test_mirror`) counts only under protocols that imitate projects."""
    flag("mirror", asked)
    if asked is not None:
        return bool(asked)
    if card.test_mirror is not None and protocol.name != "default":
        return card.test_mirror
    return protocol.mirror


def batches(views: Sequence[View], batch_size: int) -> Iterator[list[View]]:
    """Views of one canvas size at a time, in order, at most `batch_size` together; the last of a size may be short."""
    groups: dict[Size, list[View]] = {}
    for view in views:
        groups.setdefault(view.placement.canvas, []).append(view)
    for members in groups.values():
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size]


def factors(scales: object) -> tuple[float, ...]:
    """The `scales` of a Detector. Raises TypeError for what is no sequence; `ViewPlan` judges the numbers."""
    if isinstance(scales, str | bytes) or not isinstance(scales, Iterable):
        raise TypeError(f"scales={shown(scales)}; expected one or more factors, such as (0.5, 1.0)")
    return tuple(np.asarray(scales, dtype=object).ravel()) if isinstance(scales, np.ndarray) else tuple(scales)
