"""Weights as safetensors with model card and network configuration in the metadata."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from cornernet.engine.errors import ModelError, TrainingError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.engine.whole_file import write_whole
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import NetworkConfig

NETWORK_KEY = "cornernet_network"
"""Metadata key of the network's configuration (JSON): what to build before the weights fit."""


def save_checkpoint(path: Path, network: CornerNet, card: ModelCard) -> None:
    """Write weights, card and network configuration into one safetensors file, whole or not at all.

    Raises TrainingError if the disk is full or not writable; an older file of that name stays as it was.
    """
    metadata = {METADATA_KEY: card.to_json(), NETWORK_KEY: json.dumps(network.config.to_dict())}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        write_whole(path, lambda partial: safetensors.torch.save_file(state, partial, metadata=metadata))
    except (OSError, safetensors.SafetensorError) as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> TrainingError:
    """What a training run says when one of its files cannot be written."""
    kept = f"the last good file {path} is kept" if path.exists() else "nothing was written before"
    return TrainingError(f"cannot write {path}: {error}; {kept}. Free some disk space, then run again with --resume.")


def load_checkpoint(path: Path | str) -> tuple[CornerNet, ModelCard]:
    """Network in eval mode and its card. Raises ModelError if the file is not one of ours or does not fit its card."""
    path = Path(path)
    metadata, state = read_safetensors(path)
    if METADATA_KEY not in metadata or NETWORK_KEY not in metadata:
        raise ModelError(
            f"{path}: a safetensors file, but without a model card; expected a file written by `cornernet train` or "
            "`cornernet import`. Weights of other projects: `cornernet import FILE -o model.safetensors`."
        )
    card = ModelCard.from_json(metadata[METADATA_KEY], origin=str(path))
    network = CornerNet(NetworkConfig.from_dict(json.loads(metadata[NETWORK_KEY])))
    load_weights(network, state, origin=str(path))
    return network.eval(), card


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a safetensors file. Raises ModelError if it is missing, truncated or something else."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file; expected a .safetensors checkpoint.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file ({error}). A .pkl or .pth of another project: "
            "`cornernet import FILE -o model.safetensors`."
        ) from error


def load_weights(network: CornerNet, state: dict[str, torch.Tensor], *, origin: str) -> None:
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
    network.load_state_dict(state)


def transfer_weights(network: CornerNet, state: dict[str, torch.Tensor]) -> list[str]:
    """Fine-tuning: copy every entry that fits, return the names that did not (heads of another number of classes)."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and tensor.shape == own[name].shape}
    if not fitting:
        raise ModelError("no entry of the given weights fits this network; is it another preset?")
    network.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]
