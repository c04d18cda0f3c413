"""What differs between the kinds of networks when they are trained: how a picture becomes a sample, and the loss.

The loop asks `method_of` once and knows nothing else of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.data.saccade_sampling import SaccadeSampling
from cornernet.trainer.data.sampling import CornerSampling, Sampling
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.losses import corner_loss, count_objects
from cornernet.trainer.loop.saccade_loss import count_attended, saccade_loss
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import NetworkConfig

_OF_A_VIEW = set(AugmentConfig.model_fields) - {"flip", "colour", "lighting"}


class Method(NamedTuple):
    """A way to train.

    sampling: makes samples of pictures.
    count:    targets of a batch -> what its loss is divided by: scalars, to be added up over processes.
    loss:     (stacks, targets, counts=, processes=) -> named scalars, the total first; see `corner_loss`.
    """

    sampling: Sampling
    count: Callable[[Any], Any]
    loss: Callable[..., Any]


def method_of(network: NetworkConfig, card: ModelCard, config: TrainConfig) -> Method:
    """How `network` is trained. Raises TrainingError if `config` asks for what it cannot have."""
    check_canvas(config.size, network)
    weights: dict[str, Any] = {name: getattr(config, name) for name in ("pull_weight", "push_weight", "offset_weight")}
    if card.saccade is None:
        _refuse(network, config.model_fields_set & {"crops", "saccade_loss"}, "are of networks with attention")
        sampling = CornerSampling(card, config.size, network.stride, config.augment, config.radius)
        return Method(sampling, count_objects, partial(corner_loss, **weights))
    unused = sorted(f"augment.{name}" for name in config.augment.model_fields_set & _OF_A_VIEW)
    _refuse(network, set(unused), "are not of crops, which have their own settings, crops.*")
    crops = SaccadeSampling(card, config.size[0], network.stride, config.crops, config.augment, config.radius)
    return Method(
        crops,
        partial(count_attended, config=config.saccade_loss),
        partial(saccade_loss, config=config.saccade_loss, **weights),
    )


def _refuse(network: NetworkConfig, settings: set[str], why: str) -> None:
    if settings:
        raise TrainingError(f"{network.name} would be trained without {', '.join(sorted(settings))}: these {why}.")


def check_canvas(size: tuple[int, int], network: NetworkConfig) -> None:
    """Raise TrainingError unless `network` takes canvases (height, width) [px]."""
    if not all(network.is_legal_side(side) for side in size):
        multiple = network.size_multiple
        nearest = "x".join(str(max(multiple, round(side / multiple) * multiple)) for side in size)
        raise TrainingError(
            f"a canvas of {size[0]}x{size[1]} does not fit {network.name}: "
            f"sides must be a multiple of {multiple}. The nearest is {nearest}."
        )


class Kind(NamedTuple):
    """A kind of network for the loop: what builds it, a module with a `config`, and how it is trained."""

    build: Callable[[NetworkConfig], Any]
    method: Callable[[NetworkConfig, ModelCard, TrainConfig], Method]


CORNERS = Kind(CornerNet, method_of)
