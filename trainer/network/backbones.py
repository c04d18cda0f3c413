"""The backbone a network is built on: hourglass, feature pyramid on a ResNet (Table 4), timm, or one of your own.

A backbone is any module with two attributes and one method:
    stride    4 or 8, canvas pixels per cell of its map
    channels  of its map; equal to the config's feature_channels
    forward   images (N,3,H,W) float -> one map (N, channels, H/stride, W/stride), or a list of them, one per stack;
              the hourglass of a config with `attention`: a list of tuples, the maps of the attention heads behind it
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from cornernet.engine.errors import ModelError
from cornernet.trainer.network.feature_pyramid import FeaturePyramid
from cornernet.trainer.network.hourglass import HourglassBackbone
from cornernet.trainer.network.presets import TIMM_PREFIX, NetworkConfig
from cornernet.trainer.network.resnet import resnet26_slim, resnet50, resnet101


def _pyramid(extractor: Callable[[], nn.Module]) -> Callable[[NetworkConfig], nn.Module]:
    return lambda config: FeaturePyramid(extractor(), config.feature_channels, config.stride)


BACKBONES: dict[str, Callable[[NetworkConfig], nn.Module]] = {
    "hourglass": HourglassBackbone,
    "fpn-resnet26-slim": _pyramid(resnet26_slim),
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
