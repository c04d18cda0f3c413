"""TensorBoard: event files beside the checkpoints, for `tensorboard --logdir RUNS`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from cornernet.trainer.loop.logs.open_log import OnMetrics, numbers


@contextmanager
def log(output: Path, settings: Mapping[str, Any], first_step: int) -> Iterator[OnMetrics]:
    """Writes into `output`/tensorboard. A run that goes on takes the place of what it had written from here on."""
    with SummaryWriter(str(output / "tensorboard"), purge_step=first_step) as writer:
        lines = "\n".join(f"    {name} = {value!r}" for name, value in settings.items())
        writer.add_text("settings", lines, first_step)

        def on_metrics(row: Mapping[str, Any]) -> None:
            for name, value in numbers(row).items():
                writer.add_scalar(name, value, row["step"])

        yield on_metrics
