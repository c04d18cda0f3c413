"""Where to look closer: CornerNet-Saccade's attention maps, one for each class of object sizes (CornerNet-Lite)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from cornernet.trainer.network.blocks import RARE_BIAS, head
from cornernet.trainer.network.presets import NetworkConfig

_KERNEL = 3


class Attention(NamedTuple):
    """Logits that an object of this size has its centre in a cell: (N, 1, h, w) float each.

    large has a quarter of the heatmap's cells along each side, medium half, small as many.
    """

    large: Tensor
    medium: Tensor
    small: Tensor


class AttentionHeads(nn.Module):
    """The three attention heads of one stack. They read the hourglass' own sums on its way up, the coarsest first."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        small, medium, large = config.dims[:3]
        self.large = head(_KERNEL, large, config.head_channels, 1, bias=RARE_BIAS)
        self.medium = head(_KERNEL, medium, config.head_channels, 1, bias=RARE_BIAS)
        self.small = head(_KERNEL, small, config.head_channels, 1, bias=RARE_BIAS)

    def forward(self, large: Tensor, medium: Tensor, small: Tensor) -> Attention:
        return Attention(self.large(large), self.medium(medium), self.small(small))
