"""The backbone a network is built on: hourglass, feature pyramid on a ResNet (Table 4), timm, or one of your own.

A backbone is any module with two attributes and one method:
    stride    4 or 8, canvas pixels per cell of its map
    channels  of its map; equal to the config's feature_channels
    forward   images (N,3,H,W) float -> one map (N, channels, H/stride, W/stride), or a list of them, one per stack
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from cornernet.engine.errors import ModelError
from cornernet.trainer.network.blocks import conv
from cornernet.trainer.network.hourglass import HourglassBackbone
from cornernet.trainer.network.presets import TIMM_PREFIX, NetworkConfig
from cornernet.trainer.network.resnet import resnet50, resnet101


class FeaturePyramid(nn.Module):
    """Top-down pathway of an FPN (Lin et al. 2017), of which only the finest map is used: corners need its precision.

    extractor: images -> maps, finest first; it has `channels` and `reductions`, one entry per map. Maps finer than
    `stride` are left out. Raises ModelError if none has that stride.
    """

    def __init__(self, extractor: nn.Module, channels: int, stride: int) -> None:
        super().__init__()
        reductions, widths = tuple(extractor.reductions), tuple(extractor.channels)  # type: ignore[arg-type]
        if stride not in reductions:
            raise ModelError(
                f"the feature extractor gives maps of stride {reductions}; expected one of stride {stride}."
            )
        self.stride, self.channels = stride, channels
        self.extractor = extractor
        self.first = reductions.index(stride)
        self.laterals = nn.ModuleList(conv(1, width, channels, bias=True) for width in widths[self.first :])
        self.output = conv(3, channels, channels, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        maps: Sequence[Tensor] = self.extractor(images)[self.first :]
        coarse = self.laterals[-1](maps[-1])
        for lateral, finer in zip(reversed(self.laterals[:-1]), reversed(maps[:-1])):
            # By size, not by 2: extractors that round an odd side down stay usable.
            coarse = lateral(finer) + functional.interpolate(coarse, size=finer.shape[-2:], mode="nearest")
        return self.output(coarse)


def _pyramid(extractor: Callable[[], nn.Module]) -> Callable[[NetworkConfig], nn.Module]:
    return lambda config: FeaturePyramid(extractor(), config.feature_channels, config.stride)


BACKBONES: dict[str, Callable[[NetworkConfig], nn.Module]] = {
    "hourglass": HourglassBackbone,
    "fpn-resnet50": _pyramid(resnet50),
    "fpn-resnet101": _pyramid(resnet101),
}


def register_backbone(name: str, build: Callable[[NetworkConfig], nn.Module]) -> None:
    """Make `NetworkConfig(backbone=name)` build your own module. Register before building or loading such a network.

    Raises ModelError if the name is taken by another builder.
    """
    if BACKBONES.setdefault(name, build) is not build or name.startswith(TIMM_PREFIX):
        raise ModelError(f"a backbone called '{name}' exists already; choose another name.")


def build_backbone(config: NetworkConfig) -> nn.Module:
    """The config's backbone with random weights; nothing is downloaded. Raises ModelError if it does not fit."""
    if config.backbone.startswith(TIMM_PREFIX):
        from cornernet.trainer.network.timm_backbone import TimmExtractor

        extractor = TimmExtractor(config.backbone.removeprefix(TIMM_PREFIX))
        return FeaturePyramid(extractor, config.feature_channels, config.stride)
    if config.backbone not in BACKBONES:
        raise ModelError(
            f"network '{config.name}': there is no backbone '{config.backbone}'; expected one of {sorted(BACKBONES)} "
            f"or '{TIMM_PREFIX}<name>'. One of your own: cornernet.trainer.network.backbones.register_backbone."
        )
    backbone = BACKBONES[config.backbone](config)
    got = getattr(backbone, "stride", None), getattr(backbone, "channels", None)
    expected = config.stride, config.feature_channels
    if got != expected:
        raise ModelError(
            f"backbone '{config.backbone}' has (stride, channels) {got}; expected {expected} as in the network config."
        )
    return backbone
