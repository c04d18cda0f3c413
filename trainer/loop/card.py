"""The model card of a network that is about to be trained."""

from __future__ import annotations

from importlib.metadata import version

import torch

from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import Decoder, ModelCard, Saccade
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs, count_parameters
from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES, NetworkConfig

INPUT = ("channel_order", "mean", "std", "fill")
"""The fields of a card that say how pixels reach the network."""


LENGTHS = ("view_sizes", "reference_bounds", "reference_sizes")
"""The fields of a Saccade that are lengths."""


def make_card(
    config: TrainConfig, network: CornerNet, data: CocoDataset, *, sees_like: ModelCard | None = None
) -> ModelCard:
    """The card of a network trained on `data`: classes, canvas rule, decoder, cost; how it looks twice if it does.

    sees_like: the card of the weights it starts from: colours, mean, deviation and padding stay theirs.
    """
    decoder = PRESET_DECODERS.get(config.preset, Decoder())
    changes = {"top_k": config.top_k, "num_dets": config.num_dets, "max_distance": config.max_distance}
    decoder = decoder.model_copy(update={key: value for key, value in changes.items() if value is not None})
    multiple = network.config.size_multiple
    saccade = _saccade(config, network.config, sees_like)
    canvas = tuple(-(-side // multiple) * multiple for side in config.size)
    if saccade and all(map(network.config.is_legal_side, config.size)):
        canvas = config.size  # views and crops are cut as long as that, to the pixel
    sight = {name: getattr(sees_like, name) for name in INPUT} if sees_like is not None else {}
    return ModelCard(
        **sight,
        name=network.config.name,
        class_names=data.class_names,
        category_ids=data.category_ids,
        stride=network.config.stride,
        size_multiple=multiple,
        max_size=max(1024, *canvas),
        train_size=(canvas[0], canvas[1]),
        decoder=decoder,
        saccade=saccade,
        trained_mirror="pixels" if saccade and config.crops.window == "official" else "edges",
        parameters=count_parameters(network).inference,
        gmacs={
            f"{canvas[0]}x{canvas[1]}": round(count_macs(network.config, canvas[0], canvas[1], type(network)) / 1e9, 3)
        },
        versions={"cornernet": version("cornernet"), "torch": torch.__version__},
        source=f"trained on {data.annotation_file.name}",
    )


def _saccade(config: TrainConfig, network: NetworkConfig, sees_like: ModelCard | None) -> Saccade | None:
    """How a network with attention looks twice: as its preset, or as the weights it starts from; lengths scale with the
    canvas."""
    if not network.attention:
        return None
    height, width = config.size
    if height != width:
        raise TrainingError(
            f"a canvas of {height}x{width} does not fit {network.name}: its views and crops are square."
        )
    found = (
        sees_like.saccade
        if sees_like is not None and sees_like.saccade
        else PRESET_SACCADES.get(network.name, Saccade())
    )
    scaled = {
        name: tuple(round(length * width / max(found.view_sizes)) for length in getattr(found, name))
        for name in LENGTHS
    }
    return found.model_copy(update=scaled)
