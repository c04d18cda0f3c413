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
class SaccadeRules:
    """The decisions that only a CornerNet-Saccade needs, numbered as in the description of CornerNet-Lite's code.

    whole_levels: canvases are uint8. False: float32, never rounded, which gives every official box back: .onnx files,
        weights in PyTorch, engines of `cornernet build --float-canvases`. Elsewhere they are rounded, by half a grey
        level at most, and a warning says so.
    exact_affine: Q1. Boxes go back by what the resize did; False: by the asked scale, up to 2.5 px off at the far edge.
    full_window: Q2. Windows of `side / scale` pixels on all of the canvas; False: whole pixels, rounded down, so that
        the canvas' last row and column stay black, and the scale of a view rounded to float32.
    near: Q3. Locations are near each other if they are in both axes ("square"), or in either ("cross"), which drops
        what lies far away in the same row or column.
    tie_tolerance: Q4. Those exactly at the limit both stay, within so much [px, image], and either may be the better;
        None: rounding decides, and the limit is the better one's.
    rank_by_score: Q5. Boxes rank before attention, by their scores; False: all alike.
    clip_centres: Q6. Places of boxes are clipped to the image; False: not, and windows that miss the image are dropped.
        The official code cannot resize those, and stops; no protocol does.
    clip_boxes: Q7. Boxes are clipped to the image.
    cap_zoom: Q8. Attention of small images counts, at the largest scale; False: what is larger is left out.
    crop_threshold: Q9. Boxes of crops that are kept have more than this score.
    clear_border: Q10. The network rejects corners in the border cells of its canvas, because an edge there may cut an
        object. True: edges of the image that lie on a canvas are kept out of these cells.
    cell_centre: Q11. Attention is at the centre of its cell; False: at its corner, as training has it.
    antialias: Q12. Shrink by more than half with area averaging; the weights know bilinear.
    float32_size: Q13. The window of a view is computed in float32 (numpy 2), not in float64 (numpy 1), where
        `full_window` does not replace that.
    """

    whole_levels: bool = True
    exact_affine: bool = True
    full_window: bool = True
    near: Literal["square", "cross"] = "square"
    tie_tolerance: float | None = 1e-6
    rank_by_score: bool = True
    clip_centres: bool = True
    clip_boxes: bool = True
    cap_zoom: bool = True
    crop_threshold: float = 0.01
    clear_border: bool = True
    cell_centre: bool = False
    antialias: bool = False
    float32_size: bool = False


OFFICIAL_SACCADE = SaccadeRules(
    whole_levels=False,
    exact_affine=False,
    full_window=False,
    near="cross",
    tie_tolerance=None,
    rank_by_score=False,
    clip_centres=False,
    clip_boxes=False,
    cap_zoom=False,
    crop_threshold=-1,
    clear_border=False,
)
"""princeton-vl/CornerNet-Lite's test code."""


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
    saccade: what only a CornerNet-Saccade needs. Its project takes what soft-NMS returns: `keep_stale` counts as False.
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
    saccade: SaccadeRules = SaccadeRules()

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
    saccade=OFFICIAL_SACCADE,
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
