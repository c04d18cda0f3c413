"""Convolutional networks of timm, with or without their pretrained weights. The only file that needs timm."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from cornernet.engine.errors import ModelError
from cornernet.trainer.network.feature_pyramid import FeaturePyramid


class TimmExtractor(nn.Module):
    """`timm.create_model(name, features_only=True)`: images (N,3,H,W) -> maps (N,C,h,w), finest first.

    Raises ModelError if timm has no such network or it gives no feature maps.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = _create(name, pretrained=False)
        info: Any = self.network.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.reductions: tuple[int, ...] = tuple(info.reduction())

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(images)


def load_pretrained(backbone: nn.Module) -> None:
    """Replace the random weights of a timm backbone by timm's pretrained ones (downloaded, or from its cache).

    They were trained on RGB; the first convolution is turned to BGR, the order of our cards, whose mean and deviation
    are close to ImageNet's. Raises ModelError if the backbone is not timm's.
    """
    if not isinstance(backbone, FeaturePyramid) or not isinstance(backbone.extractor, TimmExtractor):
        raise ModelError(f"pretrained weights exist for timm backbones; this is {type(backbone).__name__}.")
    extractor = backbone.extractor
    extractor.network.load_state_dict(_create(extractor.name, pretrained=True).state_dict())
    swap_red_and_blue(extractor.network)


def swap_red_and_blue(network: nn.Module) -> None:
    """Make a network of RGB images one of BGR images, or back. Raises ModelError if no convolution reads 3 channels."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            module.weight.data = module.weight.data.flip(1)
            return
    raise ModelError(f"{type(network).__name__} has no convolution over 3 channels; cannot change its colour order.")


def _create(name: str, *, pretrained: bool) -> nn.Module:
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ModelError(
            f"timm {timm.__version__} cannot build '{name}' as a feature extractor ({error}). "
            "Choose a convolutional network of timm.list_models(), such as resnet50 or convnext_tiny."
        ) from error
