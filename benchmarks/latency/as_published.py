"""The network run the way its authors publish it, in torch eager: what every optimisation here is compared with.

NCHW float32, batch norms as layers of their own, corner pooling as a cumulative maximum, six dense heads, a decoder of
torch operators over the whole maps. The official code itself needs an extension that no longer builds; weights,
layers and numbers are the same, and only what the published test runs is run (the last stack's heads).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.trainer.deploy.decode import CornerPairs
from cornernet.trainer.deploy.deployed import SaccadePairs
from cornernet.trainer.deploy.fold_batch_norm import fold_batch_norms
from cornernet.trainer.network.corner_net import CornerHeads, CornerModule, CornerModules, CornerNet, StackHeads

_ROW, _COLUMN = 2, 3


class AsPublished(nn.Module):
    """Images (N, H, W, 3) uint8 -> CornerPairs in canvas pixels; rows beyond the counts as in RawDetections. Of a
    Saccade SaccadePairs; without `attention`, as its code runs crops, CornerPairs.

    folded: batch norms folded into the convolutions, everything else as published: the first step of the ladder.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: CornerNet, card: ModelCard, *, folded: bool = False) -> None:
        super().__init__()
        self.decoder, self.saccade = card.decoder, card.saccade
        self.register_buffer("mean", torch.tensor(card.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).reshape(1, 3, 1, 1), persistent=False)
        change = fold_batch_norms if folded else copy.deepcopy
        self.backbone = change(network.backbone)
        self.corners = copy.deepcopy(network.corners[-1])
        assert isinstance(self.corners, CornerModules)
        for corner in (self.corners.top_left, self.corners.bottom_right):
            for name, part in list(corner.named_children()):
                setattr(corner, name, change(part))
        self.heads = copy.deepcopy(network.heads[-1])
        self.attention = copy.deepcopy(network.attention[-1]) if card.saccade is not None else None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, *, attention: bool = True) -> CornerPairs | SaccadePairs:
        pixels = images.permute(0, 3, 1, 2).contiguous().float() / 255
        last = self.backbone((pixels - self.mean) / self.std)[-1]
        features, *levels = last if isinstance(last, tuple) else (last,)
        heads = self.heads
        assert isinstance(heads, StackHeads) and isinstance(self.corners, CornerModules)
        top_left = _corner(self.corners.top_left, features, heads.top_left, from_end=True)
        bottom_right = _corner(self.corners.bottom_right, features, heads.bottom_right, from_end=False)
        found = _decode(top_left, bottom_right, self.decoder)
        down, across = images.shape[1] / features.shape[2], images.shape[2] / features.shape[3]
        pairs = found._replace(boxes=found.boxes * torch.tensor([across, down, across, down]))
        if self.attention is None or self.saccade is None or not attention:
            return pairs
        levels = [_locations(level, self.saccade.locations) for level in self.attention(*levels)]
        scores, cells = (torch.stack(part, dim=1) for part in zip(*levels))
        return SaccadePairs(*pairs, scores, cells.int())


def cumulative_maximum(x: Tensor, dim: int, *, from_end: bool) -> Tensor:
    """Maximum of each cell and all before it in scan order. (N, C, h, w) -> the same."""
    return x.flip(dim).cummax(dim).values.flip(dim) if from_end else x.cummax(dim).values


def _corner(
    module: CornerModule, features: Tensor, heads: CornerHeads, *, from_end: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """One branch: corner module (Fig. 7), then its three dense heads."""
    vertical = cumulative_maximum(module.vertical(features), _ROW, from_end=from_end)
    horizontal = cumulative_maximum(module.horizontal(features), _COLUMN, from_end=from_end)
    pooled = module.pooled(vertical + horizontal)
    return heads(module.output(torch.relu(pooled + module.shortcut(features))))


def _local_maxima(logits: Tensor) -> Tensor:
    scores = logits.sigmoid()
    return scores * (nn.functional.max_pool2d(scores, 3, stride=1, padding=1) == scores)


def _locations(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores and cells of the strongest peaks of one attention map, (N, count), as far as it has any."""
    scores = _local_maxima(logits).flatten(1)
    best, cells = scores.topk(min(count, scores.shape[1]), dim=1)
    missing = (0, count - best.shape[1])
    best = torch.where(best > 0, best, -1.0)
    return nn.functional.pad(best, missing, value=-1.0), nn.functional.pad(cells, missing)


def _peaks(
    maps: tuple[Tensor, Tensor, Tensor], top_k: int, border: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Scores, classes, embeddings, x, y of the K strongest 3x3 peaks (section 4.2), each (N, K).

    border: 0, the first row and column, or -1, the last: corners in it have no class, which is `border` - 1.
    """
    heatmap, embedding, offset = maps
    scores = _local_maxima(heatmap)
    height, width = scores.shape[2:]
    best, index = scores.flatten(1).topk(top_k, dim=1)
    cell = index % (height * width)
    x = cell % width + offset[:, 0].flatten(1).gather(1, cell)
    y = cell // width + offset[:, 1].flatten(1).gather(1, cell)
    labels = index // (height * width)
    if border is not None:
        cut = (cell % width == border % width) | (cell // width == border % height)
        labels = torch.where(cut, border - 1, labels)
    return best, labels, embedding[:, 0].flatten(1).gather(1, cell), x, y


def _decode(
    top_left: tuple[Tensor, Tensor, Tensor],
    bottom_right: tuple[Tensor, Tensor, Tensor],
    decoder: Decoder,
) -> CornerPairs:
    """All K x K pairs, those that cannot be objects at -1, the best `num_dets` (section 3.3)."""
    top_k, num_dets, max_distance = decoder.top_k, decoder.num_dets, decoder.max_distance
    borders = (0, -1) if decoder.reject_border else (None, None)
    (s1, c1, e1, x1, y1), (s2, c2, e2, x2, y2) = (
        _peaks(maps, top_k, border) for maps, border in zip((top_left, bottom_right), borders)
    )
    grid = [(a[:, :, None].expand(-1, -1, top_k), b[:, None, :].expand(-1, top_k, -1)) for a, b in
            ((s1, s2), (c1, c2), (e1, e2), (x1, x2), (y1, y2))]  # fmt: skip
    (s1, s2), (c1, c2), (e1, e2), (x1, x2), (y1, y2) = grid
    scores = (s1 + s2) / 2
    wrong = (c1 != c2) | ((e1 - e2).abs() > max_distance) | (x2 < x1) | (y2 < y1)
    scores = torch.where(wrong, -1.0, scores).flatten(1)
    best, index = scores.topk(min(num_dets, top_k**2), dim=1)
    boxes = torch.stack([side.flatten(1).gather(1, index) for side in (x1, y1, x2, y2)], dim=2)
    corner_scores = torch.stack([score.flatten(1).gather(1, index) for score in (s1, s2)], dim=2)
    labels, found = c1.flatten(1).gather(1, index), best >= 0
    return CornerPairs(
        torch.where(found[..., None], boxes, 0.0),
        best,
        torch.where(found[..., None], corner_scores, 0.0),
        torch.where(found, labels, -1).int(),
        found.sum(dim=1, dtype=torch.int32),
    )
