"""CornerNet: a backbone, then a corner module and three heads for each corner (sections 3.1 to 3.5, Fig. 4 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cornernet.engine.errors import ImageError
from cornernet.trainer.network.backbones import build_backbone
from cornernet.trainer.network.blocks import Convolution, conv, conv_bn
from cornernet.trainer.network.corner_pool import corner_pool_bottom_right, corner_pool_top_left
from cornernet.trainer.network.presets import NetworkConfig

_POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "top_left": corner_pool_top_left,
    "bottom_right": corner_pool_bottom_right,
    "none": torch.add,
}
# The focal loss starts from a corner probability of 0.1 everywhere, not 0.5: sigmoid(-2.19) = 0.1.
HEATMAP_BIAS = -2.19


class Heads(NamedTuple):
    """The maps one stack predicts, all (N, channels, h, w) float; one cell covers stride x stride canvas pixels.

    heatmap   (N, classes, h, w) logits
    embedding (N, 1, h, w)       only differences mean anything (section 3.3)
    offset    (N, 2, h, w)       [cell] x then y, added to the cell's coordinates (Eq. 2)
    """

    top_left_heatmap: Tensor
    bottom_right_heatmap: Tensor
    top_left_embedding: Tensor
    bottom_right_embedding: Tensor
    top_left_offset: Tensor
    bottom_right_offset: Tensor


class CornerModule(nn.Module):
    """A residual block whose first convolution is replaced by corner pooling (Fig. 7). (N,C,h,w) -> (N,C,h,w)."""

    def __init__(self, corner: str, config: NetworkConfig) -> None:
        super().__init__()
        channels, pooled = config.feature_channels, config.pool_channels
        # The name, not the operator: modules are deep-copied (weight averaging) and pickled.
        self.corner_pool = corner if config.corner_pooling else "none"
        self.vertical = Convolution(3, channels, pooled)
        self.horizontal = Convolution(3, channels, pooled)
        self.pooled = conv_bn(pooled, channels, kernel=3)
        self.shortcut = conv_bn(channels, channels)
        self.output = Convolution(3, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _POOLS[self.corner_pool](self.vertical(x), self.horizontal(x))
        return self.output(torch.relu(self.pooled(pooled) + self.shortcut(x)))


class CornerModules(nn.Module):
    """The corner modules of one stack."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.top_left = CornerModule("top_left", config)
        self.bottom_right = CornerModule("bottom_right", config)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return self.top_left(feature), self.bottom_right(feature)


class CornerHeads(nn.Module):
    """Heatmap, embedding and offset of one corner. (N,C,h,w) -> three maps."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heatmap = self._head(config, config.num_classes, HEATMAP_BIAS)
        self.embedding = self._head(config, 1)
        self.offset = self._head(config, 2)

    @staticmethod
    def _head(config: NetworkConfig, channels: int, bias: float | None = None) -> nn.Sequential:
        last = conv(1, config.head_channels, channels, bias=True)
        if bias is not None and last.bias is not None:
            nn.init.constant_(last.bias, bias)
        first = Convolution(config.head_kernel, config.feature_channels, config.head_channels, batch_norm=False)
        return nn.Sequential(first, last)

    @property
    def sparse(self) -> tuple[nn.Sequential, nn.Sequential]:
        """The heads that are read at corners only."""
        return self.embedding, self.offset

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.heatmap(x), self.embedding(x), self.offset(x)


class StackHeads(nn.Module):
    """The six heads of one stack."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.top_left = CornerHeads(config)
        self.bottom_right = CornerHeads(config)

    def forward(self, top_left: Tensor, bottom_right: Tensor) -> Heads:
        pairs = zip(self.top_left(top_left), self.bottom_right(bottom_right))
        return Heads(*(head for pair in pairs for head in pair))


class CornerNet(nn.Module):
    """The whole network. Training uses every stack (intermediate supervision), inference the last one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config)
        self.corners = nn.ModuleList(CornerModules(config) for _ in range(config.stacks))
        self.heads = nn.ModuleList(StackHeads(config) for _ in range(config.stacks))

    def forward(self, images: Tensor) -> list[Heads]:
        """Normalised images (N,3,H,W) float -> the heads of every stack, first stack first.

        Raises ImageError if H or W is not legal for the network.
        """
        features = self._features(images)
        return [heads(*corners(feature)) for feature, corners, heads in zip(features, self.corners, self.heads)]

    def corner_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the last stack's heads read: the top-left and bottom-right maps, (N, feature_channels, h, w) each."""
        return self.corners[-1](self._features(images)[-1])

    def last_heads(self, images: Tensor) -> Heads:
        """The last stack's heads; the other stacks' heads and corner modules, needed for training only, do not run."""
        return self.heads[-1](*self.corner_features(images))

    def _features(self, images: Tensor) -> list[Tensor]:
        # While a graph is traced the sides are symbols: a check would pin them to the traced ones.
        if not torch.compiler.is_compiling():
            self._check_size(*images.shape[-2:])
        features = self.backbone(images)
        return features if isinstance(features, list) else [features]

    def _check_size(self, height: int, width: int) -> None:
        config = self.config
        if not (config.is_legal_side(height) and config.is_legal_side(width)):
            multiple = config.size_multiple
            raise ImageError(
                f"the network got images of {height} x {width} px (height x width); {config.name} takes sides of "
                f"{multiple - config.stride + 1} to {multiple} px, or that plus a multiple of {multiple}. "
                f"Pad each side to the next multiple of {multiple}."
            )
