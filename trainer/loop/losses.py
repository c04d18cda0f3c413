"""The training loss: focal, pull, push and offset terms of every stack (Eq. 1, 3, 4, 5 and 8).

Normalisers are the official code's, not the paper's "N objects in an image": the focal terms are divided by the
positive cells and the offset terms by the objects of the whole batch, pull and push by the objects of each image and
then summed over the images, and the total by the number of stacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from cornernet.trainer.data.targets import CornerTargets

if TYPE_CHECKING:
    from cornernet.trainer.network.corner_net import Heads

EPSILON = 1e-4
"""Added to divisors, and kept between a score and 0 or 1, as in the official code."""


class LossTerms(NamedTuple):
    """Scalars, float32. The four terms are weighted and averaged over the stacks, so `total` is their sum."""

    total: Tensor
    focal: Tensor
    pull: Tensor
    push: Tensor
    offset: Tensor


class ObjectCounts(NamedTuple):
    """What a batch's losses are divided by; scalars, float32. Add them up over processes to train like one process."""

    top_left_peaks: Tensor
    bottom_right_peaks: Tensor
    objects: Tensor


def count_objects(targets: CornerTargets) -> ObjectCounts:
    """Positive cells of both heatmaps and rows of objects in the batch."""
    return ObjectCounts(
        (targets.top_left_heatmap == 1).sum().float(),
        (targets.bottom_right_heatmap == 1).sum().float(),
        targets.mask.sum().float(),
    )


def corner_loss(
    stacks: Sequence[Heads],
    targets: CornerTargets,
    *,
    pull_weight: float = 0.1,
    push_weight: float = 0.1,
    offset_weight: float = 1.0,
    counts: ObjectCounts | None = None,
    processes: int = 1,
) -> LossTerms:
    """Eq. (8) with intermediate supervision: every stack answers for the same targets.

    Computed in float32 whatever the type of the heads, also under autocast (which lowers only matrix products and
    convolutions, and there are none here); without synchronising with the device.

    Args:
        stacks:    heads, one per stack: heatmap logits (N, C, h, w), embeddings (N, 1, h, w), offsets (N, 2, h, w).
        targets:   CornerTargets as tensors with a leading batch axis N >= 1; images without objects are fine.
        counts:    objects of the global batch when it is spread over `processes`; default: of `targets`.
        processes: number of processes over which gradients are averaged. With both given, that average equals the
                   gradient of one process holding the whole batch.
    """
    counts = count_objects(targets) if counts is None else counts
    per_stack = [corner_terms(heads, targets, counts) for heads in stacks]
    focal, pull, push, offset = torch.stack(per_stack).mean(dim=0).mul(processes).unbind()
    pull, push, offset = pull_weight * pull, push_weight * push, offset_weight * offset
    return LossTerms(focal + pull + push + offset, focal, pull, push, offset)


def corner_terms(
    heads: Heads,
    targets: CornerTargets,
    counts: ObjectCounts,
    weights: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:
    """(4,) float32: focal, pull, push, offset of one stack, both corners added, unweighted.

    weights: of the cells of the top-left and of the bottom-right heatmap, (N, C, h, w) each.
    """
    focal = focal_loss(heads.top_left_heatmap, targets.top_left_heatmap, counts.top_left_peaks, weights[0])
    focal = focal + focal_loss(
        heads.bottom_right_heatmap, targets.bottom_right_heatmap, counts.bottom_right_peaks, weights[1]
    )
    top_left = read_cells(heads.top_left_embedding, targets.top_left_cell)[..., 0]
    bottom_right = read_cells(heads.bottom_right_embedding, targets.bottom_right_cell)[..., 0]
    pull, push = pull_push_loss(top_left, bottom_right, targets.mask)
    offset = offset_loss(
        read_cells(heads.top_left_offset, targets.top_left_cell), targets.top_left_offset, targets.mask, counts.objects
    )
    offset = offset + offset_loss(
        read_cells(heads.bottom_right_offset, targets.bottom_right_cell),
        targets.bottom_right_offset,
        targets.mask,
        counts.objects,
    )
    return torch.stack([focal, pull, push, offset])


def read_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Values of maps (N, D, h, w) at flat cells (N, T) -> (N, T, D) float32."""
    flat = maps.flatten(2)
    index = cells[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2).float()


def focal_loss(logits: Tensor, heatmap: Tensor, peaks: Tensor, weight: Tensor | None = None) -> Tensor:
    """Eq. (1), alpha 2, beta 4: logits and target heatmap (N, C, h, w), divided by `peaks`, by 1 if there are none.

    weight: (N, C, h, w), of each cell's term. Scores are kept within [EPSILON, 1 - EPSILON]: the loss is finite for any
    logit and the gradient zero beyond.
    """
    score = logits.float().sigmoid().clamp(EPSILON, 1 - EPSILON)
    positive = score.log() * (1 - score).square()
    negative = (1 - score).log() * score.square() * (1 - heatmap).pow(4)
    terms = torch.where(heatmap == 1, positive, negative)
    return -(terms if weight is None else terms * weight).sum() / peaks.clamp(min=1)


def pull_push_loss(top_left: Tensor, bottom_right: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (4) and (5): embeddings (N, T) of the corners of T objects per image, `mask` (N, T) bool marks the real ones.

    Each is summed over the images. The diagonal of Eq. (5) cancels from two objects on; an image with one object adds a
    constant 0.9999 to the push loss, without gradient, as in the official code.
    """
    top_left, bottom_right = top_left.where(mask, 0), bottom_right.where(mask, 0)
    count = mask.sum(dim=1, keepdim=True).float()
    mean = (top_left + bottom_right) / 2
    spread = (top_left - mean).square() + (bottom_right - mean).square()
    pull = (spread / (count + EPSILON)).sum()

    count = count[..., None]
    closeness = functional.relu(1 - (mean[:, :, None] - mean[:, None, :]).abs()) - 1 / (count + EPSILON)
    both = mask[:, :, None] & mask[:, None, :]
    push = (closeness / ((count - 1) * count + EPSILON)).where(both, 0).sum()
    return pull, push


def offset_loss(predicted: Tensor, target: Tensor, mask: Tensor, objects: Tensor) -> Tensor:
    """Eq. (3): smooth L1 of (N, T, 2) offsets [cell] at the objects' corners, x and y added, divided by `objects`."""
    distance = functional.smooth_l1_loss(predicted, target, reduction="none")
    return distance.where(mask[..., None], 0).sum() / (objects + EPSILON)
