"""Weights as safetensors with model card and network configuration in the metadata."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cornernet.engine.arguments import as_path
from cornernet.engine.errors import ModelError, TrainingError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.engine.printable import printable
from cornernet.trainer.network.attention import AttentionHeads
from cornernet.trainer.network.backbones import build_backbone
from cornernet.trainer.network.corner_net import CornerModules, CornerNet, StackHeads
from cornernet.trainer.network.presets import NetworkConfig
from cornernet.trainer.network.safetensors_file import Shapes, read_header, read_safetensors, write_safetensors

NETWORK_KEY = "cornernet_network"
"""Metadata key of the network's configuration (JSON): what to build before the weights fit."""


def save_checkpoint(path: Path, network: CornerNet, card: ModelCard) -> None:
    """Write weights, card and network configuration into one safetensors file, whole or not at all.

    Raises TrainingError if the disk is full or not writable; an older file of that name stays as it was.
    """
    metadata = {METADATA_KEY: card.to_json(), NETWORK_KEY: json.dumps(network.config.to_dict())}
    try:
        write_safetensors(path, network.state_dict(), metadata)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> TrainingError:
    """What is said when a file cannot be written: the cure for this cause, and --resume where there is a run."""
    kept = f"the last good file {printable(path)} is kept" if path.exists() else "nothing was written before"
    then = "run again with --resume" if path.with_name("last.pt").exists() else "try again"
    return TrainingError(f"cannot write {printable(path)}: {error}; {kept}. {_cure(path, error)}then {then}.")


def _cure(path: Path, error: Exception) -> str:
    if isinstance(error, RuntimeError):  # torch's writer names no cause
        try:
            return f"{shutil.disk_usage(path.parent).free / 1e9:.1f} GB are free there; see that they suffice, "
        except OSError:
            return f"See that {printable(path.parent)} can be written to, "
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free some disk space, "
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Make {printable(path.parent)} writable, "
    return "Mend that, "


def load_checkpoint(path: Path | str) -> tuple[CornerNet, ModelCard]:
    """Network in eval mode and its card. Raises ModelError if the file is not one of ours or does not fit its card.

    What the file says of itself is compared with its tensors before anything of that size is built.
    """
    path = as_path("path", path)
    metadata, shapes = read_header(path)
    if METADATA_KEY not in metadata or NETWORK_KEY not in metadata:
        raise ModelError(
            f"{path}: a safetensors file, but without a model card; expected a file written by `cornernet train` or "
            "`cornernet import`. Weights of other projects: `cornernet import FILE -o model.safetensors`."
        )
    card = ModelCard.from_json(metadata[METADATA_KEY], origin=str(path))
    config = _read_config(metadata[NETWORK_KEY], path)
    if contradiction := config.contradiction(card):
        raise ModelError(f"{path}: {contradiction}: the file was damaged or edited.")
    _check_shapes(config, shapes, path)
    network = CornerNet(config)
    load_weights(network, read_safetensors(path)[1], origin=str(path))
    return network.eval(), card


def _read_config(text: str, path: Path) -> NetworkConfig:
    try:
        return NetworkConfig.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:  # ModelError is a ValueError
        raise ModelError(f"{path}: the network's description ({NETWORK_KEY}) cannot be used: {error}") from error


def _check_shapes(config: NetworkConfig, shapes: Shapes, path: Path) -> None:
    """Raise ModelError if the tensors cannot be those of `config`: a few bytes of it could ask for any memory.

    Heads and corner modules fix every size of the networks whose backbone is not made of the config's own numbers.
    """
    with torch.device("meta"):
        parts = nn.ModuleDict({"corners": _per_stack(CornerModules, config), "heads": _per_stack(StackHeads, config)})
        if config.backbone == "hourglass":
            parts["backbone"] = build_backbone(config)
        if config.attention:
            parts["attention"] = _per_stack(AttentionHeads, config)
    for name, tensor in parts.state_dict().items():
        if shapes.get(name) != tuple(tensor.shape):
            found = f"of shape {shapes[name]}" if name in shapes else "missing"
            raise ModelError(
                f"{path}: {name} is {found}; expected {tuple(tensor.shape)} for {config.name} with "
                f"{config.num_classes} classes. The file was damaged or edited."
            )


def _per_stack(part: type[nn.Module], config: NetworkConfig) -> nn.ModuleList:
    return nn.ModuleList(part(config) for _ in range(config.stacks))


def load_weights(network: Any, state: dict[str, torch.Tensor], *, origin: str) -> None:
    """Copy `state` into `network`. Raises ModelError naming the first missing, unexpected or misshapen entries."""
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    extra = [name for name in state if name not in own]
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or extra or misshapen:
        parts = [f"missing: {', '.join(missing[:3])}"] * bool(missing)
        parts += [f"unexpected: {', '.join(extra[:3])}"] * bool(extra)
        parts += [f"wrong shape: {'; '.join(misshapen[:3])}"] * bool(misshapen)
        raise ModelError(
            f"{origin}: {len(missing)} missing, {len(extra)} unexpected and {len(misshapen)} misshapen entries for "
            f"{network.config.name} with {network.config.num_classes} classes ({'; '.join(parts)})."
        )
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):  # what runtimes make of NaN in a maximum differs
            raise ModelError(f"{origin}: {name} holds values that are no finite numbers: the training had diverged.")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # a type that cannot become the network's own
        raise ModelError(f"{origin}: the weights cannot be used: {error}") from error


def transfer_weights(network: CornerNet, state: dict[str, torch.Tensor]) -> list[str]:
    """Fine-tuning: copy every entry that fits, return the names that did not (heads of another number of classes)."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    if not fitting:
        raise ModelError("no entry of the given weights fits this network; is it another preset?")
    network.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]
