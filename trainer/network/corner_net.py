"""CornerNet: a backbone, then a corner module and three heads for each corner (sections 3.1 to 3.5, Fig. 4 and 7).

CornerNet-Saccade adds attention maps (attention.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cornernet.engine.errors import ImageError
from cornernet.trainer.network.attention import Attention, AttentionHeads
from cornernet.trainer.network.backbones import build_backbone
from cornernet.trainer.network.blocks import RARE_BIAS, Convolution, conv_bn, head
from cornernet.trainer.network.corner_pool import corner_pool_bottom_right, corner_pool_top_left
from cornernet.trainer.network.presets import NetworkConfig

_POOLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "top_left": corner_pool_top_left,
    "bottom_right": corner_pool_bottom_right,
    "none": torch.add,
}


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


class SaccadeHeads(NamedTuple):
    """What one stack of CornerNet-Saccade predicts: corners, and where to look closer."""

    corners: Heads
    attention: Attention


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
        sizes = config.head_kernel, config.feature_channels, config.head_channels
        self.heatmap = head(*sizes, config.num_classes, bias=RARE_BIAS)
        self.embedding = head(*sizes, 1)
        self.offset = head(*sizes, 2)

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
        self.attention = nn.ModuleList(AttentionHeads(config) for _ in range(config.stacks * config.attention))

    def forward(self, images: Tensor) -> list[Heads] | list[SaccadeHeads]:
        """Normalised images (N,3,H,W) float -> the heads of every stack, first stack first; SaccadeHeads of a network
        with attention. Raises ImageError if H or W is not legal for the network.
        """
        return [self._stack(index, *features) for index, features in enumerate(self._features(images))]

    def last_stack(self, images: Tensor) -> Heads | SaccadeHeads:
        """What inference computes: of `forward` the last entry; nothing runs that is needed for training only."""
        return self._stack(-1, *self._features(images)[-1])

    def last_heads(self, images: Tensor) -> Heads:
        """The six corner heads of the last stack alone."""
        return self.heads[-1](*self.corner_features(images))

    def corner_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the last stack's heads read: the top-left and bottom-right maps, (N, feature_channels, h, w) each."""
        return self.corners[-1](self._features(images)[-1][0])

    @property
    def training_only(self) -> list[nn.Module]:
        """Heads and corner modules of all stacks but the last."""
        return [part for parts in (self.corners, self.heads, self.attention) for part in parts[:-1]]

    def _stack(self, index: int, feature: Tensor, *levels: Tensor) -> Any:
        corners = self.heads[index](*self.corners[index](feature))
        return SaccadeHeads(corners, self.attention[index](*levels)) if self.config.attention else corners

    def _features(self, images: Tensor) -> list[tuple[Tensor, ...]]:
        """Per stack the map that corners are read from, then those of the attention heads."""
        # While a graph is traced the sides are symbols: a check would pin them to the traced ones.
        if not torch.compiler.is_compiling():
            self._check_size(*images.shape[-2:])
        features = self.backbone(images)
        stacks = features if isinstance(features, list) else [features]
        return [stack if isinstance(stack, tuple) else (stack,) for stack in stacks]

    def _check_size(self, height: int, width: int) -> None:
        config = self.config
        if not (config.is_legal_side(height) and config.is_legal_side(width)):
            multiple = config.size_multiple
            raise ImageError(
                f"the network got images of {height} x {width} px (height x width); {config.name} takes sides of "
                f"{multiple - config.stride + 1} to {multiple} px, or that plus a multiple of {multiple}. "
                f"Pad each side to the next multiple of {multiple}."
            )
