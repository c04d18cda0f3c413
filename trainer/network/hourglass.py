"""The stacked hourglass backbone (section 3.5): down to a small map and back up, twice or three times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from cornernet.trainer.network.blocks import Convolution, Fire, Residual, conv_bn
from cornernet.trainer.network.presets import NetworkConfig

_BLOCKS: dict[str, type[Residual] | type[Fire]] = {"residual": Residual, "fire": Fire}


class Hourglass(nn.Module):
    """One level: keep a copy at this resolution, send the rest through half the resolution and back, add both.

    Down-sampling is by stride, not by max pooling. dims, modules: of this level and all below; (N, dims[0], h, w) in,
    where h and w are multiples of 2 ** (len(dims) - 1); out come the sums of all levels, the innermost first.
    """

    def __init__(self, dims: Sequence[int], modules: Sequence[int], *, block: str, upsample: str) -> None:
        super().__init__()
        make = _BLOCKS[block]
        here, below = dims[0], dims[1]
        self.keep = nn.Sequential(*(make(here, here) for _ in range(modules[0])))
        self.down = nn.Sequential(make(here, below, stride=2), *(make(below, below) for _ in range(modules[0] - 1)))
        self.inner: nn.Module
        if len(dims) > 2:
            self.inner = Hourglass(dims[1:], modules[1:], block=block, upsample=upsample)
        else:
            self.inner = nn.Sequential(*(make(below, below) for _ in range(modules[1])))
        self.up = nn.Sequential(*(make(below, below) for _ in range(modules[0] - 1)), make(below, here))
        self.upsample: nn.Module = nn.Upsample(scale_factor=2, mode="nearest")
        if upsample == "transposed":
            self.upsample = nn.ConvTranspose2d(here, here, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        inner = self.inner(self.down(x))
        sums = inner if isinstance(inner, list) else []
        below = sums[-1] if sums else inner
        return [*sums, self.keep(x) + self.upsample(self.up(below))]


class HourglassBackbone(nn.Module):
    """Stem and stacked hourglasses. Images (N,3,H,W) -> one (N, channels, H/stride, W/stride) map per stack; with
    `attention` the map and behind it the three sums (N, dims[2], H/stride/4, ...) to (N, dims[0], H/stride, ...)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        stem, first = config.stem_channels, config.dims[0]
        self.channels, self.stride, self.attention = config.feature_channels, config.stride, config.attention
        self.stem = nn.Sequential(
            Convolution(config.stem_kernel, 3, stem[0], stride=2),
            *(Residual(before, after, stride=2) for before, after in pairwise(stem)),
        )
        self.hourglasses = nn.ModuleList(
            Hourglass(config.dims, config.modules, block=config.block, upsample=config.upsample)
            for _ in range(config.stacks)
        )
        self.features = nn.ModuleList(Convolution(3, first, self.channels) for _ in range(config.stacks))
        between = range(config.stacks - 1)
        self.from_input = nn.ModuleList(conv_bn(first, first) for _ in between)
        self.from_feature = nn.ModuleList(conv_bn(self.channels, first) for _ in between)
        self.merged = nn.ModuleList(Residual(first, first) for _ in between)

    def forward(self, images: Tensor) -> list[Tensor] | list[tuple[Tensor, ...]]:
        x = self.stem(images)
        stacks = []
        for stack, hourglass in enumerate(self.hourglasses):
            sums = hourglass(x)
            feature = self.features[stack](sums[-1])
            stacks.append((feature, *sums) if self.attention else feature)
            if stack < len(self.merged):
                joined = self.from_input[stack](x) + self.from_feature[stack](feature)
                x = self.merged[stack](torch.relu(joined))
        return stacks
