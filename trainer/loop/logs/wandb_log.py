"""Weights & Biases: a run of the project that WANDB_PROJECT names (default cornernet)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from cornernet.trainer.loop.logs.open_log import OnMetrics, numbers


@contextmanager
def log(output: Path, settings: Mapping[str, Any], first_step: int) -> Iterator[OnMetrics]:
    """One run each time training starts; those of one directory are a group. WANDB_MODE=offline sends nothing."""
    project = os.environ.get("WANDB_PROJECT", "cornernet")
    run = wandb.init(project=project, group=output.name, dir=str(output), config=dict(settings))
    try:
        yield lambda row: run.log(numbers(row), step=row["step"])
    finally:
        run.finish()
