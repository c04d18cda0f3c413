"""ResNet-50, ResNet-101 and a small one without the classifier (He et al. 2016; stride in the 3x3 convolution).

Module names are those of torchvision, so its ImageNet weights load with `load_state_dict(..., strict=False)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cornernet.trainer.network.blocks import conv, conv_bn

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, beside a shortcut."""

    def __init__(self, channels_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        channels_out = width * _EXPANSION
        self.conv1, self.bn1 = conv(1, channels_in, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(3, width, width, stride=stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(1, width, channels_out), nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = conv_bn(channels_in, channels_out, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Images (N,3,H,W) -> maps at strides 4, 8, 16 and 32, finest first, of 4, 8, 16 and 32 times `width` channels."""

    reductions = (4, 8, 16, 32)

    def __init__(self, blocks: Sequence[int], width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        self.channels = tuple(_EXPANSION * each for each in widths)
        self.conv1, self.bn1 = conv(7, 3, width, stride=2), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, widths[0], blocks[0], stride=1)
        self.layer2 = _stage(self.channels[0], widths[1], blocks[1], stride=2)
        self.layer3 = _stage(self.channels[1], widths[2], blocks[2], stride=2)
        self.layer4 = _stage(self.channels[2], widths[3], blocks[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def _stage(channels_in: int, width: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(channels_in, width, stride=stride)
    return nn.Sequential(first, *(Bottleneck(width * _EXPANSION, width) for _ in range(blocks - 1)))


def resnet50() -> ResNet:
    return ResNet((3, 4, 6, 3))


def resnet101() -> ResNet:
    return ResNet((3, 4, 23, 3))


def resnet26_slim() -> ResNet:
    """About a million parameters, for a CPU."""
    return ResNet((2, 2, 2, 2), width=16)
