"""The training loss of a CornerNet-Saccade: that of CornerNet, cells that do not count, attention (CornerNet-Lite).

Where the official code divides by what its authors hardly meant, `SaccadeLossConfig` has a name for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from cornernet.trainer.data.saccade_targets import SaccadeTargets
from cornernet.trainer.loop.losses import ObjectCounts, corner_terms, focal_loss

if TYPE_CHECKING:
    from cornernet.trainer.network.corner_net import SaccadeHeads


class SaccadeLossConfig(BaseModel):
    """How the terms are divided. Official: "all", "centres", "twice".

    peaks: a heatmap's term is divided by its corners: the "counted" ones, or "all", those in cells of weight 0 too.
    attention: a level's term is divided by its "centres" of objects in the batch, by 1 if there are none; or by the
        batch's "images" where these are more: a level that has no object in a batch is not heard above all others.
    stacks: attention is averaged over the stacks "once", like the other terms, or "twice".
    attention_weight: of the attention in the total.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peaks: Literal["counted", "all"] = "counted"
    attention: Literal["images", "centres"] = "images"
    stacks: Literal["once", "twice"] = "once"
    attention_weight: float = Field(default=1.0, ge=0)


class SaccadeTerms(NamedTuple):
    """Scalars, float32. The terms are weighted and averaged over the stacks, so `total` is their sum."""

    total: Tensor
    focal: Tensor
    pull: Tensor
    push: Tensor
    offset: Tensor
    attention: Tensor


class SaccadeCounts(NamedTuple):
    """What a batch's losses are divided by; scalars, float32. Add them up over processes to train like one process."""

    top_left_peaks: Tensor
    bottom_right_peaks: Tensor
    objects: Tensor
    large: Tensor
    medium: Tensor
    small: Tensor
    images: Tensor


def count_attended(targets: SaccadeTargets, config: SaccadeLossConfig) -> SaccadeCounts:
    """Corners, objects, centres on each level, images of the batch."""
    corners, levels = targets.corners, targets.attention

    def peaks(heatmap: Tensor, weight: Tensor) -> Tensor:
        positive = heatmap == 1
        return (positive & (weight > 0) if config.peaks == "counted" else positive).sum().float()

    return SaccadeCounts(
        peaks(corners.top_left_heatmap, targets.top_left_weight),
        peaks(corners.bottom_right_heatmap, targets.bottom_right_weight),
        corners.mask.sum().float(),
        (levels.large == 1).sum().float(),
        (levels.medium == 1).sum().float(),
        (levels.small == 1).sum().float(),
        torch.full((), len(corners.mask), dtype=torch.float32, device=corners.mask.device),
    )


def saccade_loss(
    stacks: Sequence[SaccadeHeads],
    targets: SaccadeTargets,
    *,
    pull_weight: float = 0.1,
    push_weight: float = 0.1,
    offset_weight: float = 1.0,
    config: SaccadeLossConfig | None = None,
    counts: SaccadeCounts | None = None,
    processes: int = 1,
) -> SaccadeTerms:
    """Every stack answers for the same targets; see `corner_loss` for `counts` and `processes`.

    Computed in float32, without synchronising with the device.
    """
    config = config if config is not None else SaccadeLossConfig()
    counts = count_attended(targets, config) if counts is None else counts
    of_corners = ObjectCounts(*counts[:3])
    weights = targets.top_left_weight, targets.bottom_right_weight
    corners = torch.stack([corner_terms(stack.corners, targets.corners, of_corners, weights) for stack in stacks])
    attention = torch.stack([_attention_loss(stack, targets, counts, config) for stack in stacks]).mean()
    focal, pull, push, offset = corners.mean(dim=0).mul(processes).unbind()
    pull, push, offset = pull_weight * pull, push_weight * push, offset_weight * offset
    attention = config.attention_weight * processes * attention
    if config.stacks == "twice":
        attention = attention / len(stacks)
    return SaccadeTerms(focal + pull + push + offset + attention, focal, pull, push, offset, attention)


def _attention_loss(
    stack: SaccadeHeads, targets: SaccadeTargets, counts: SaccadeCounts, config: SaccadeLossConfig
) -> Tensor:
    """Focal loss of the three levels of one stack, added. Targets are 0 or 1: no near miss is forgiven."""
    centres = torch.stack([counts.large, counts.medium, counts.small])
    if config.attention == "images":
        centres = centres.maximum(counts.images)
    levels = zip(stack.attention, targets.attention, centres, strict=True)
    return torch.stack([focal_loss(logits, wanted, divisor) for logits, wanted, divisor in levels]).sum()
