"""Every decision in which the official test code, its corrected form and mmdetection differ. Nowhere else.

A `Protocol` is read by the geometry, the post-processing and the result file; each field is one decision, so any one
of the official quirks can be switched alone (`dataclasses.replace`) to see what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from cornernet.engine.arguments import choice

Canvas = Literal["multiple", "official"]


@dataclass(frozen=True)
class Protocol:
    """How images become canvases and raw detections become results.

    canvas: "multiple": sides padded to the next multiple of the card's `size_multiple`: 640 stays 640.
        "official": to the next multiple minus one (`size | 127`): 640 becomes 767, a fifth more pixels.
    keep_last_row: False: an image side that fills the canvas exactly loses its last row or column (official
        `crop_image`).
    mirror: the mirrored view is run too unless the caller says otherwise (official testing always does).
    mirror_axis: un-mirroring is x -> axis - x. "training": what undoes the card's `trained_mirror`, canvas width, less
        1 for official weights. "edges": canvas width; the official test code, so that its mirrored boxes sit one pixel
        to the right. "image": 2 left margins + image width; mmdetection, one pixel off where the margins differ.
    nominal_scale: True: boxes of a scaled image are divided by the asked factor, not by the size ratio that truncation
        to whole pixels gave.
    antialias: shrink by more than half with area averaging; False: always bilinear (official).
    clip_far_side: clip x2, y2 to the image too; mmdetection clips at 0 only.
    drop_empty: drop boxes without width or height after clipping, such as those found in the padding.
    iou_pixel: added to widths and heights in IoU: 1 counts pixels (official), 0 measures lengths.
    drop_weak: soft-NMS drops every box below its minimum score; False: only one that overlapped a stronger box
        (official).
    keep_stale: True: rows that soft-NMS had dropped come back as duplicates of low score (official: its return value
        is ignored).
    move_corner_scores: False: corner scores stay behind when soft-NMS moves a row (official), so merging weights boxes
        with the scores of others.
    keep_ties: True: boxes tied with the last of `max_per_image` stay too, so there may be more.
    order: of the results: by "score", or by "class" and then as soft-NMS left them (official).
    result_decimals: digits of boxes and scores in a COCO result file; None: all. Two digits make ties and move AP in
        its third digit.
    """

    name: str
    canvas: Canvas = "multiple"
    keep_last_row: bool = True
    mirror: bool = False
    mirror_axis: Literal["training", "edges", "image"] = "training"
    nominal_scale: bool = False
    antialias: bool = True
    clip_far_side: bool = True
    drop_empty: bool = True
    iou_pixel: int = 0
    drop_weak: bool = True
    keep_stale: bool = False
    move_corner_scores: bool = True
    keep_ties: bool = False
    order: Literal["score", "class"] = "score"
    result_decimals: int | None = None

    @property
    def in_place(self) -> bool:
        """True if a decision depends on the order in which the official soft-NMS rewrites its array."""
        corrected = self.move_corner_scores and self.drop_weak and self.order == "score"
        return self.keep_stale or self.keep_ties or not corrected


DEFAULT = Protocol("default")
"""The corrected protocol."""

OFFICIAL = Protocol(
    "official",
    canvas="official",
    keep_last_row=False,
    mirror=True,
    mirror_axis="edges",
    nominal_scale=True,
    antialias=False,
    drop_empty=False,
    iou_pixel=1,
    drop_weak=False,
    keep_stale=True,
    move_corner_scores=False,
    keep_ties=True,
    order="class",
    result_decimals=2,
)
"""princeton-vl/CornerNet's test code, box for box."""

MMDETECTION = Protocol(
    "mmdetection",
    canvas="official",
    keep_last_row=False,
    mirror_axis="image",
    antialias=False,
    clip_far_side=False,
)
"""mmdetection's CornerHead (2.x, which its published numbers come from). Its colour order, mean, padding value and
stricter pairing come from the model card. One thing is done in another order: it clamps corners to the image before it
pairs them, here the card's decoder clamps to the canvas and `drop_empty` removes what clipping to the image leaves
without width or height.
"""

PROTOCOLS = {protocol.name: protocol for protocol in (DEFAULT, OFFICIAL, MMDETECTION)}


def find_protocol(protocol: str | Protocol, *, canvas: Canvas | None = None) -> Protocol:
    """A protocol by name, with another canvas rule if one is given. Raises ValueError naming those that exist."""
    if not isinstance(protocol, Protocol):
        choice("protocol", protocol, tuple(PROTOCOLS))
        protocol = PROTOCOLS[protocol]
    choice("canvas", canvas, ("multiple", "official", None))
    return protocol if canvas is None else replace(protocol, canvas=canvas)
