"""Networks with random weights that find boxes: an untrained one predicts about the same everywhere, and no pairs."""

import torch
from torch import nn

from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES, NetworkConfig

MICRO = NetworkConfig(
    name="micro",
    num_classes=3,
    dims=(8, 12),
    modules=(1, 1),
    stem_channels=(8, 8),
    stem_kernel=3,
    stacks=2,
    feature_channels=8,
    pool_channels=8,
    head_channels=8,
)
"""Every part of the paper's network in seconds: two stacks, 3x3 heads, canvases that are multiples of 8."""


def lively_network(config: NetworkConfig = MICRO) -> CornerNet:
    """Eval mode, deterministic: batch norms far from the identity, peaked heatmaps, embeddings close together."""
    generator = torch.Generator().manual_seed(5)
    network = CornerNet(config).eval()

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                bound = (2 / module.weight[0].numel()) ** 0.5
                uniform(module.weight, -bound, bound)
                if module.bias is not None:
                    uniform(module.bias, -0.1, 0.1)
            elif isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in zip(
                    module.state_dict().values(), (0.7, -0.2, -0.2, 0.6), (1.2, 0.2, 0.2, 1.4)
                ):
                    uniform(tensor, low, high)
        for corner in (network.heads[-1].top_left, network.heads[-1].bottom_right):
            corner.heatmap[-1].weight.mul_(25)
            corner.heatmap[-1].bias.fill_(0.0)
            corner.embedding[-1].weight.mul_(0.5)
    return network


def card_of(network: CornerNet, **changes: object) -> ModelCard:
    config = network.config
    names = tuple(f"class {index}" for index in range(config.num_classes))
    facts = dict(
        name=config.name,
        class_names=names,
        category_ids=tuple(range(1, config.num_classes + 1)),
        stride=config.stride,
        size_multiple=config.size_multiple,
        max_size=256,
        decoder=Decoder(top_k=40, num_dets=60),
    )
    if config.attention:
        facts |= dict(max_size=128, train_size=(127, 127), decoder=PRESET_DECODERS["saccade-tiny"])
        facts |= dict(saccade=PRESET_SACCADES["saccade-tiny"])
    return ModelCard(**(facts | changes))  # type: ignore[arg-type]
