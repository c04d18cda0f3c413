"""The network as it is deployed: uint8 images in, final candidate boxes out, nothing that only training needs.

The order of operations is the ONNX file's. `Cast` comes first, because TensorRT takes a uint8 input nowhere else.
Normalisation stays explicit: folded into the first convolution it would turn that one's zero padding into mean grey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.trainer.deploy.decode import (
    CornerPairs,
    Corners,
    attention_peaks,
    cell_size,
    corner_group,
    corner_peaks,
    corner_windows,
    reject_border,
)
from cornernet.trainer.deploy.fold_batch_norm import fold_batch_norms
from cornernet.trainer.network.attention import Attention
from cornernet.trainer.network.corner_net import CornerHeads, CornerNet, Heads, SaccadeHeads, StackHeads


class SaccadePairs(NamedTuple):
    """CornerPairs and the attention of the three levels, see SaccadeDetections."""

    boxes: Tensor
    scores: Tensor
    corner_scores: Tensor
    labels: Tensor
    counts: Tensor
    attention_scores: Tensor
    attention_cells: Tensor


class CornerFeatures(nn.Module):
    """Images (N, H, W, 3) uint8 -> what the last stack's top-left and bottom-right heads read, (N, C, h, w) each, then
    what its attention heads read.

    dtype: what the network computes in; pixels are normalised in float32 and rounded once.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: CornerNet, card: ModelCard, *, dtype: torch.dtype) -> None:
        super().__init__()
        std = torch.tensor(card.std).reshape(1, 3, 1, 1)
        self.register_buffer("mean", 255 * torch.tensor(card.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.dtype = dtype
        self.backbone = fold_batch_norms(network.backbone).to(self.dtype)
        self.corners = fold_batch_norms(network.corners[-1]).to(self.dtype)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = images.to(torch.float32).permute(0, 3, 1, 2)
        stacks = self.backbone(((pixels - self.mean) * self.scale).to(self.dtype))
        last = stacks[-1] if isinstance(stacks, list) else stacks
        feature, *levels = last if isinstance(last, tuple) else (last,)
        return *self.corners(feature), *levels


class DeployedCorner(nn.Module):
    """The heads of one corner: heatmap everywhere, embedding and offset only at the K strongest peaks.

    A convolution at K cells is a 1x1 convolution over their windows (as a matrix product it would not build for
    Turing in TensorRT-RTX). Embedding and offset see the same windows, so their first layers are one, and their second
    layers are one with block-diagonal weights, kept in float32: it gives the coordinates and the distances that are
    compared with `max_distance`. last: the bottom-right corner, whose border is the last row and column.
    """

    def __init__(self, heads: CornerHeads, decoder: Decoder, dtype: torch.dtype, *, last: bool) -> None:
        super().__init__()
        self.top_k, self.clamp = decoder.top_k, decoder.clamp_corners
        self.rejects_border, self.last = decoder.reject_border, last
        self.heatmap = fold_batch_norms(heads.heatmap).to(dtype)
        layers = [[module for module in head.modules() if isinstance(module, nn.Conv2d)] for head in heads.sparse]
        first, second = ([head[index] for head in layers] for index in (0, 1))
        self.window = first[0].kernel_size[0]
        self.hidden = _per_cell(torch.cat([c.weight.flatten(1) for c in first]), _biases(first)).to(dtype)
        self.position = _per_cell(torch.block_diag(*(c.weight.flatten(1) for c in second)), _biases(second))

    def forward(self, features: Tensor) -> Corners:
        heatmap = self.heatmap(features)
        scores, labels, cells = corner_peaks(heatmap, self.top_k)
        windows, columns, rows = corner_windows(features, cells, self.window)
        hidden = self.hidden(windows).relu()
        embeddings, x, y = self.position(hidden.to(torch.float32)).squeeze(3).unbind(dim=1)
        x, y = columns + x, rows + y
        if self.rejects_border:
            labels = reject_border(labels, cells, heatmap, last=self.last)
        return Corners(scores, labels, embeddings, x.relu() if self.clamp else x, y.relu() if self.clamp else y)


class DeployedAttention(nn.Module):
    """The last stack's attention heads: what they read -> the strongest peaks of the three levels, (N, 3, P) each.

    maps: the three maps themselves, (N, 1, h, w).
    """

    def __init__(self, network: CornerNet, locations: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.locations = locations
        self.maps = fold_batch_norms(network.attention[-1]).to(dtype)

    def forward(self, *levels: Tensor) -> tuple[Tensor, Tensor]:
        scores, cells = zip(*(attention_peaks(logits, self.locations) for logits in self.maps(*levels)))
        return torch.stack(scores, dim=1), torch.stack(cells, dim=1)


class DeployedNetwork(nn.Module):
    """Images (N, H, W, 3), uint8 or float32 levels -> the five outputs of the ONNX contract, boxes in canvas pixels;
    seven of a Saccade.

    A frozen copy of `network` in eval mode, batch norms folded, without training-only heads and corner modules.
    Canvas sides must be legal for the card.
    """

    def __init__(self, network: CornerNet, card: ModelCard, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.decoder = card.decoder
        self.features = CornerFeatures(network, card, dtype=dtype)
        heads = network.heads[-1]
        assert isinstance(heads, StackHeads)
        self.top_left = DeployedCorner(heads.top_left, card.decoder, self.features.dtype, last=False)
        self.bottom_right = DeployedCorner(heads.bottom_right, card.decoder, self.features.dtype, last=True)
        self.attention: DeployedAttention | None = None
        if card.saccade is not None:
            self.attention = DeployedAttention(network, card.saccade.locations, self.features.dtype)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> CornerPairs | SaccadePairs:
        top_left, bottom_right, *levels = self.features(images)
        decoder = self.decoder
        found = corner_group(
            self.top_left(top_left),
            self.bottom_right(bottom_right),
            decoder.num_dets,
            decoder.max_distance,
            decoder.reject_zero_size,
        )
        pairs = found._replace(boxes=found.boxes * cell_size(images, top_left))
        return pairs if self.attention is None else SaccadePairs(*pairs, *self.attention(*levels))


class DeployedHeads(nn.Module):
    """Images (N, H, W, 3) uint8 -> the last stack's maps, float32: `card.map_outputs`, grouped as the network's."""

    def __init__(self, network: CornerNet, card: ModelCard, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.features = CornerFeatures(network, card, dtype=dtype)
        self.heads = fold_batch_norms(network.heads[-1]).to(self.features.dtype)
        self.attention = fold_batch_norms(network.attention[-1]).to(self.features.dtype) if card.saccade else None
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Heads | SaccadeHeads:
        top_left, bottom_right, *levels = self.features(images)
        heads = Heads(*(head.to(torch.float32) for head in self.heads(top_left, bottom_right)))
        if self.attention is None:
            return heads
        return SaccadeHeads(heads, Attention(*(level.to(torch.float32) for level in self.attention(*levels))))


def _biases(layers: Iterable[nn.Conv2d]) -> Tensor:
    return torch.cat([layer.bias for layer in layers if layer.bias is not None])


def _per_cell(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """weight (out, in), bias (out,) as a 1x1 convolution over (N, in, K, 1)."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1)
    layer.weight, layer.bias = (
        nn.Parameter(weight.detach().clone()[:, :, None, None]),
        nn.Parameter(bias.detach().clone()),
    )
    return layer
