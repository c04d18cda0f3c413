"""The operator `corner_soft_nms`: rows of `corner_group`, one view an image, to final boxes in image pixels.

In torch here, with its kernel in kernel_operators.py; the definition is `soft_nms` of engine/results/soft_nms.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cornernet.engine.backends.finishing import NmsRules
from cornernet.plugins.launchers import SOFT_NMS


class FinalBatch(NamedTuple):
    """Best first: boxes (N, L, 4) float32 [px, image], scores (N, L) float32, labels (N, L) int32, counts (N,) int32.
    Rows after `counts`: box 0, score -1, label -1."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor


def corner_soft_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, counts: Tensor, placements: Tensor, rules: NmsRules
) -> FinalBatch:
    """boxes (N, D, 4) [px, canvas], scores (N, D) best first, labels (N, D), counts (N,), see CornerPairs; placements
    (N, 9) float32 and rules as the kernel has them (plugins/kernels/corner_soft_nms.h). Ties: the lower row."""
    given = boxes, scores, labels, counts, placements
    limit, method, *others = rules
    return FinalBatch(*torch.ops.cornernet.corner_soft_nms(*given, limit, SOFT_NMS[method], *others))


def image_boxes(boxes: Tensor, placements: Tensor) -> Tensor:
    """Boxes (N, D, 4) [px, canvas] -> float32 [px, image], un-mirrored and clipped, in double as on the host."""
    left, top, right, bottom, across, width, down, height, axis = placements.double().T[:, :, None]
    x1, y1, x2, y2 = boxes.double().unbind(dim=2)
    mirrored = ~axis.isnan()
    x1, x2 = torch.where(mirrored, axis - x2, x1), torch.where(mirrored, axis - x1, x2)

    def back(edges: Tensor, begin: Tensor, far_side: Tensor, scale: Tensor) -> Tensor:
        return torch.minimum((edges - begin).clamp(min=0), far_side) / scale

    horizontal, vertical = (left, right, across / width), (top, bottom, down / height)
    sides = back(x1, *horizontal), back(y1, *vertical), back(x2, *horizontal), back(y2, *vertical)
    return torch.stack(sides, dim=2).float()


def corner_soft_nms_in_torch(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    counts: Tensor,
    placements: Tensor,
    limit: int,
    method: int,
    sigma: float,
    iou_threshold: float,
    min_score: float,
    iou_pixel: int,
    drop_empty: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = image_boxes(boxes, placements)
    alive = (torch.arange(scores.shape[1], device=scores.device) < counts[:, None]) & (scores >= min_score)
    if drop_empty:
        alive &= (found[..., 2:] > found[..., :2]).all(dim=2)
    edges = torch.cat((found[..., :2], -found[..., 2:] - iou_pixel), dim=2)  # an intersection is a maximum of edges
    areas = _area(edges).clamp(min=1e-12)  # empty boxes divide by no zero
    left = torch.where(alive, scores, 0.0)  # 0 once taken, dead or not there
    rows, taken_scores = [], []
    for _ in range(limit):
        row = left.argmax(dim=1, keepdim=True)  # the first of equal ones
        score = left.gather(1, row)
        rows.append(row)
        taken_scores.append(score)
        if method != SOFT_NMS[None]:
            taken = edges.gather(1, row[..., None].expand(-1, -1, 4))
            weights = _weights(edges, areas, taken, areas.gather(1, row), method, sigma, iou_threshold)
            weakened = left * torch.where(labels == labels.gather(1, row), weights, 1.0)
            left = torch.where(weakened >= min_score, weakened, 0.0)
        left = left.scatter(1, row, 0.0)
    picked, kept = torch.cat(rows, dim=1), torch.cat(taken_scores, dim=1)
    used = kept > 0
    return (
        torch.where(used[..., None], found.gather(1, picked[..., None].expand(-1, -1, 4)), 0.0),
        torch.where(used, kept, -1.0),
        torch.where(used, labels.gather(1, picked), -1),
        used.sum(dim=1, dtype=torch.int32),
    )


def _area(edges: Tensor) -> Tensor:
    """Of boxes x1 y1 -x2 -y2 (..., 4); 0 of those without width or height."""
    minus_sides = (edges[..., :2] + edges[..., 2:]).clamp(max=0)
    return minus_sides[..., 0] * minus_sides[..., 1]


def _weights(
    edges: Tensor, areas: Tensor, taken: Tensor, taken_area: Tensor, method: int, sigma: float, iou_threshold: float
) -> Tensor:
    """The factor (N, D) by which the boxes taken (N, 1) weaken the others."""
    common = _area(torch.maximum(edges, taken))
    overlap = common / (areas + taken_area - common)
    if method == SOFT_NMS["gaussian"]:
        return (overlap * overlap * (-1 / sigma)).exp()
    weak = torch.zeros_like(overlap) if method == SOFT_NMS["hard"] else 1 - overlap
    return torch.where(overlap <= iou_threshold, 1.0, weak)


corner_soft_nms_operator = torch.library.custom_op(
    "cornernet::corner_soft_nms", corner_soft_nms_in_torch, mutates_args=()
)


@corner_soft_nms_operator.register_fake
def _(
    boxes: Tensor, scores: Tensor, labels: Tensor, counts: Tensor, placements: Tensor, limit: int, *rules: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    slots = (scores.shape[0], limit)
    return boxes.new_empty((*slots, 4)), scores.new_empty(slots), labels.new_empty(slots), torch.empty_like(counts)
