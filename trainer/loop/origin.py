"""What a run starts from: chance; a checkpoint, whose network is taken over (fine-tuning); its own interrupted part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cornernet.engine.errors import ModelError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.printable import printable
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.resume_file import load_resume
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import PRESET_SACCADES, NetworkConfig, preset

_PER_CLASS = re.compile(r"heads\.\d+\.(top_left|bottom_right)\.heatmap\.1\.(weight|bias)")
"""Entries with a row for each class: the last layer of each heatmap head."""


@dataclass(frozen=True)
class Origin:
    """What a run starts from.

    config:         as asked for, with the network of the file
    name:           of the file, for people
    network, card:  of the file; None: by the configuration
    saved:          the content of a resume file
    source:         the network to start from
    """

    config: TrainConfig
    name: str = ""
    network: NetworkConfig | None = None
    card: ModelCard | None = None
    saved: dict[str, Any] | None = None
    source: CornerNet | None = None


def find_origin(config: TrainConfig, output: Path, *, resume: bool, init: Path | None) -> Origin:
    """Read what a run in `output` starts from.

    Raises TrainingError if there is nothing to resume, something that only --resume may continue, or a file of another
    network than `config` asks for; ModelError if `init` cannot be used.
    """
    last = output / "last.pt"
    if resume:
        saved = load_resume(last)
        network = NetworkConfig.from_dict(saved["network_config"])
        card = ModelCard.from_json(saved["card"], origin=printable(last))
        config = sized(adopt(config, network, last), network, card)
        return Origin(config, printable(last), network, card, saved=saved)
    if last.exists():
        raise TrainingError(
            f"{printable(output)} already holds a run; continue it with --resume or choose another directory."
        )
    if init is None:
        return Origin(sized(config))
    source, card = load_checkpoint(init)
    config = sized(adopt(config, source.config, init), source.config, card)
    return Origin(config, printable(init), source.config, card, source=source)


def sized(config: TrainConfig, network: NetworkConfig | None = None, card: ModelCard | None = None) -> TrainConfig:
    """`config`; where it asks for no canvas, with the one that a network with attention is made for.

    network, card: of the weights that are started from.
    """
    attention = network.attention if network is not None else config.preset in PRESET_SACCADES
    if not attention or "size" in config.model_fields_set:
        return config
    if card is not None and card.train_size is not None:
        return config.model_copy(update={"size": card.train_size})
    side = max(PRESET_SACCADES[config.preset].view_sizes)
    return config.model_copy(update={"size": (side, side)})


def network_of(config: TrainConfig, classes: int) -> NetworkConfig:
    """The network that the configuration asks for. Raises ModelError if there is no such preset."""
    return preset(config.preset, classes, corner_pooling=config.corner_pooling)


def adopt(config: TrainConfig, found: NetworkConfig, file: Path) -> TrainConfig:
    """`config` with the network of a file, of whatever number of classes, in place of defaults.

    Raises TrainingError if the configuration asks, not by default, for another network.
    """
    own: dict[str, Any] = {"preset": found.name, "corner_pooling": found.corner_pooling}
    asked = {key: getattr(config, key) for key in own if key in config.model_fields_set}
    adopted = config.model_copy(update={**own, **asked})
    if asked:
        try:
            wanted = network_of(adopted, found.num_classes)
        except ModelError as error:
            raise TrainingError(str(error)) from error
        if replace(wanted, name=found.name) != found:
            listed = ", ".join(f"{key} {value!r}" for key, value in asked.items())
            network = f"{found.name!r}{'' if found.corner_pooling else ' without corner pooling'}"
            raise TrainingError(
                f"{printable(file)} holds the network {network}, but the configuration asks for {listed}. "
                "Leave that out (--preset, --config, --set), or start from other weights."
            )
    return adopted


def transfer(network: CornerNet, card: ModelCard, source: CornerNet, source_card: ModelCard) -> str:
    """Copy the weights of `source`, which differs from `network` in its classes only. Says what was taken.

    The heatmap heads' last layers have a row for each class. It is taken for the classes that both know by name,
    without regard to case; the others keep their random start.
    """
    classes, known = _names(card), _names(source_card)
    own, given = network.state_dict(), source.state_dict()
    same = classes == known
    taken = [name for name in own if same or not _PER_CLASS.fullmatch(name)]
    rows = [(label, known.index(name)) for label, name in enumerate(classes) if name in known]
    with torch.no_grad():
        for name, tensor in own.items():
            if name in taken:
                tensor.copy_(given[name])
            else:
                for label, row in rows:
                    tensor[label].copy_(given[name][row])
    text = f"{len(taken)} of {len(own)} entries taken"
    if same:
        return text
    kept = f"; of the old classes stay {_listed([card.class_names[label] for label, _ in rows])}" if rows else ""
    return f"{text}; new: heatmap heads, {len(known)} -> {len(classes)} classes{kept}"


def _names(card: ModelCard) -> list[str]:
    return [name.strip().casefold() for name in card.class_names]


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(map(printable, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
