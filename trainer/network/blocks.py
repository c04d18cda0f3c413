"""The blocks every network here is built of. Stride 1 keeps the size; a bias only where no batch norm follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The focal loss starts from a probability of 0.1 everywhere, not 0.5: sigmoid(-2.19) = 0.1.
RARE_BIAS = -2.19


def conv(kernel: int, channels_in: int, channels_out: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution padded so that output side = ceil(input side / stride)."""
    return nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=bias)


class Convolution(nn.Module):
    """conv -> batch norm -> ReLU; without batch norm the convolution has a bias."""

    def __init__(
        self, kernel: int, channels_in: int, channels_out: int, *, stride: int = 1, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.conv = conv(kernel, channels_in, channels_out, stride=stride, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(channels_out) if batch_norm else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is the identity unless the stride or the channels change."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(3, channels_in, channels_out, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = conv(3, channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = conv_bn(channels_in, channels_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Fire(nn.Module):
    """CornerNet-Lite's fire module: squeeze to half, expand by 1x1 and depth-wise 3x3; no ReLU after the squeeze.

    The identity is added only where shapes allow; there is no projecting shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        half = channels_out // 2
        self.squeeze = conv(1, channels_in, half)
        self.squeeze_bn = nn.BatchNorm2d(half)
        self.expand_1x1 = conv(1, half, half, stride=stride)
        self.expand_3x3 = nn.Conv2d(half, half, 3, stride=stride, padding=1, groups=half, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze_bn(self.squeeze(x))
        expanded = self.bn(torch.cat([self.expand_1x1(squeezed), self.expand_3x3(squeezed)], dim=1))
        return self.relu(expanded + x if self.adds_input else expanded)


def head(kernel: int, channels_in: int, hidden: int, channels_out: int, *, bias: float | None = None) -> nn.Sequential:
    """Convolution and ReLU, then one prediction per cell, whose bias starts at `bias`."""
    last = conv(1, hidden, channels_out, bias=True)
    if bias is not None and last.bias is not None:
        nn.init.constant_(last.bias, bias)
    return nn.Sequential(Convolution(kernel, channels_in, hidden, batch_norm=False), last)


def conv_bn(channels_in: int, channels_out: int, *, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """conv -> batch norm, no ReLU: what is added to something else before the ReLU."""
    return nn.Sequential(conv(kernel, channels_in, channels_out, stride=stride), nn.BatchNorm2d(channels_out))
