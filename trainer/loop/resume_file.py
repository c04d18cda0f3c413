"""Resume files: tensors and plain containers only, so that reading one executes nothing; whole, or refused.

The file is what `torch.save` writes, a zip archive, whose comment is the SHA-256 of all before it. Without it a flipped
bit in a weight or an optimiser's average would be trained on in silence.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cornernet.engine.arguments import as_path, is_file, shown_path
from cornernet.engine.errors import TrainingError
from cornernet.engine.whole_file import write_whole
from cornernet.trainer.network.checkpoint import cannot_write

_MARK = b"cornernet resume, sha256 "
_COMMENT = len(_MARK) + 64
_PIECE = 2**20
_NO_COMMENT = bytes(2)  # a zip ends with the length of its comment


def save_resume(path: Path, state: dict[str, Any]) -> None:
    """Write a resume file (`TrainState.as_dict`), whole or not at all. Raises TrainingError if the disk is full."""

    def write(partial: Path) -> None:
        torch.save(state, partial)
        _sign(partial)

    try:
        write_whole(path, write)
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, error) from error


def load_resume(path: Path) -> dict[str, Any]:
    """What `save_resume` wrote, without executing anything in the file.

    Raises TrainingError if it is missing, of another program, damaged anywhere, or lacks what a run needs.
    """
    path = as_path("path", path)
    if not is_file(path):
        raise TrainingError(f"{shown_path(path)}: nothing to resume from; start without --resume.")
    try:
        _check_signature(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check_structure(state)
        return state
    except Exception as error:  # torch raises many types for a file of another program
        raise TrainingError(f"{path}: not a readable resume file ({error}). {_instead(path)}") from error


def _sign(path: Path) -> None:
    """Give the zip archive `path` its own SHA-256 as comment. Raises OSError."""
    with path.open("r+b") as file:
        file.seek(-len(_NO_COMMENT), 2)
        if file.read() != _NO_COMMENT:
            raise RuntimeError("torch.save wrote something else than a zip archive without comment")
        file.seek(-len(_NO_COMMENT), 2)
        file.write(_COMMENT.to_bytes(2, "little"))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, 2)
        file.write(_MARK + digest.encode())


def _check_signature(path: Path) -> None:
    with path.open("rb") as file:
        left = file.seek(0, 2) - _COMMENT
        if left <= 0:
            raise ValueError("it is empty or cut off")
        file.seek(left)
        comment = file.read()
        if not comment.startswith(_MARK):
            raise ValueError("it is cut off, of another program, or of an earlier version")
        file.seek(0)
        digest = hashlib.sha256()
        while left:
            part = file.read(min(left, _PIECE))
            if not part:
                raise ValueError("it became shorter while it was read")
            digest.update(part)
            left -= len(part)
    if comment != _MARK + digest.hexdigest().encode():
        raise ValueError("its content is not what was written: it was damaged")


def _is_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items()
    )


def _is_optimizer(value: Any) -> bool:
    """As `torch.optim.Adam.state_dict`: groups of parameter numbers, and the averages of each number."""
    if not isinstance(value, Mapping) or set(value) != {"state", "param_groups"}:
        return False
    groups, state = value["param_groups"], value["state"]
    return (
        isinstance(groups, list)
        and all(isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups)
        and isinstance(state, Mapping)
        and all(type(number) is int and _is_tensors(averages) for number, averages in state.items())
    )


def _is_scaler(value: Any) -> bool:
    numbers = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
    return isinstance(value, Mapping) and (
        not value or (set(value) == numbers and all(map(_is_number, value.values())))
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_STRUCTURE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "config": (lambda value: isinstance(value, dict), "settings by name"),
    "network": (lambda value: bool(value) and _is_tensors(value), "tensors by name"),
    "optimizer": (_is_optimizer, "the state of Adam"),
    "averaged": (_is_tensors, "tensors by name"),
    "scaler": (_is_scaler, "the state of a gradient scaler"),
    "step": (_is_count, "a number of steps"),
    "best_ap": (_is_number, "a number"),
    "validated": (_is_count, "a number of epochs"),
    "without_gain": (_is_count, "a number of validations"),
    "steps_per_epoch": (_is_count, "a number of steps"),
    "network_config": (lambda value: isinstance(value, dict), "the description of a network"),
    "card": (lambda value: isinstance(value, str), "a model card"),
}
"""Each entry of `TrainState.as_dict`: whether a value can be it, and what was expected."""


def _check_structure(state: Any) -> None:
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}; expected {', '.join(_STRUCTURE)}")
    missing = [name for name in _STRUCTURE if name not in state]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (fits, expected) in _STRUCTURE.items():
        if not fits(state[name]):
            raise ValueError(f"its entry {name!r} is not {expected}")


def _instead(path: Path) -> str:
    """What to do without the resume file: a run directory that holds one takes no new run."""
    weights = path.with_name("last.safetensors")
    start = f", from the last weights with --init {weights}" if weights.is_file() else ""
    return f"Start again in another directory{start}."
