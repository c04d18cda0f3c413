"""Hourglass + anchors (section 4.4.4): every hourglass predicts at all resolutions of its way up."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cornernet.benchmarks.anchor_baseline.anchors import PER_CELL
from cornernet.engine.errors import ModelError
from cornernet.trainer.network.blocks import Convolution, conv
from cornernet.trainer.network.hourglass import HourglassBackbone
from cornernet.trainer.network.presets import NetworkConfig

TOWER = 4
"""3 x 3 convolutions before an answer, as in RetinaNet."""
PRIOR = 0.01
"""Score of every anchor before training: background must not flood the loss."""


class AnchorAnswers(NamedTuple):
    """Of one stack, anchors in the order of `anchors.anchor_boxes`: logits (N, A, classes), deltas (N, A, 4)."""

    logits: Tensor
    deltas: Tensor


def level_strides(config: NetworkConfig) -> tuple[int, ...]:
    """Of the maps that an hourglass predicts on, finest first [px/cell]."""
    return tuple(config.stride * 2**level for level in range(len(config.dims) - 1))


class AnchorHeads(nn.Module):
    """RetinaNet's two towers, shared by the levels of a stack; a 1 x 1 convolution makes the levels alike."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.head_channels
        self.laterals = nn.ModuleList(conv(1, channels, width, bias=True) for channels in config.dims[:-1])
        self.scores = self._tower(width, PER_CELL * config.num_classes, -math.log((1 - PRIOR) / PRIOR))
        self.boxes = self._tower(width, PER_CELL * 4, 0.0)
        self.classes = config.num_classes

    @staticmethod
    def _tower(width: int, channels: int, bias: float) -> nn.Sequential:
        layers = [Convolution(3, width, width, batch_norm=False) for _ in range(TOWER)]
        answer = conv(3, width, channels, bias=True)
        assert answer.bias is not None
        nn.init.normal_(answer.weight, std=0.01)
        nn.init.constant_(answer.bias, bias)
        return nn.Sequential(*layers, answer)

    def forward(self, levels: list[Tensor]) -> AnchorAnswers:
        """levels: (N, dims[i], h, w), finest first."""
        alike = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        logits = [_flat(self.scores(level), self.classes) for level in alike]
        deltas = [_flat(self.boxes(level), 4) for level in alike]
        return AnchorAnswers(torch.cat(logits, dim=1), torch.cat(deltas, dim=1))


class AnchorNet(nn.Module):
    """Images (N,3,H,W) -> the answers of every stack (intermediate supervision). The network of `config`, other heads.

    Raises ModelError if `config` has no hourglass.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.backbone != "hourglass":
            raise ModelError(f"network '{config.name}': anchors are compared on the hourglass, not on a pyramid.")
        self.config = config
        self.backbone = HourglassBackbone(config)
        self.backbone.attention = True  # the sums of all levels beside the map for corners
        self.heads = nn.ModuleList(AnchorHeads(config) for _ in range(config.stacks))

    @property
    def strides(self) -> tuple[int, ...]:
        return level_strides(self.config)

    @property
    def training_only(self) -> list[nn.Module]:
        """The heads of all stacks but the last."""
        return list(self.heads[:-1])

    def forward(self, images: Tensor) -> list[AnchorAnswers]:
        stacks = self.backbone(images)
        return [heads(list(reversed(sums))) for heads, (_, *sums) in zip(self.heads, stacks, strict=True)]

    def last_stack(self, images: Tensor) -> AnchorAnswers:
        """Those of the last stack, which inference takes."""
        (_, *sums) = self.backbone(images)[-1]
        answers: AnchorAnswers = self.heads[-1](list(reversed(sums)))
        return answers


def _flat(maps: Tensor, per_anchor: int) -> Tensor:
    """(N, PER_CELL * per_anchor, h, w) -> (N, h * w * PER_CELL, per_anchor)."""
    images, _, height, width = maps.shape
    split = maps.reshape(images, PER_CELL, per_anchor, height, width)
    return split.permute(0, 3, 4, 1, 2).reshape(images, -1, per_anchor)
