"""Resume files: tensors and plain containers only, so that reading one executes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cornernet.engine.errors import TrainingError
from cornernet.engine.whole_file import write_whole
from cornernet.trainer.network.checkpoint import cannot_write


def save_resume(path: Path, state: dict[str, Any]) -> None:
    """Write a resume file (tensors, plain containers), whole or not at all. TrainingError if the disk is full."""
    try:
        write_whole(path, lambda partial: torch.save(state, partial))
    except (OSError, RuntimeError) as error:
        raise cannot_write(path, error) from error


def load_resume(path: Path) -> dict[str, Any]:
    """Read a resume file without executing anything in it. Raises TrainingError if it is missing or damaged."""
    if not path.is_file():
        raise TrainingError(f"{path}: nothing to resume from; start without --resume.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise TrainingError(f"{path}: not a readable resume file ({error}). Start again without --resume.") from error
