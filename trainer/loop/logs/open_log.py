"""The log of a name, and what one has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cornernet.engine.errors import TrainingError
from cornernet.engine.installation import require

OnMetrics = Callable[[Mapping[str, Any]], None]
"""Takes a row of metrics.jsonl: `step`, and numbers by name (a validation's has `epoch` and `AP`)."""

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Name -> the package it needs; the module of the log is <name>_log."""

LOGS = tuple(_PACKAGES)


@contextmanager
def open_log(name: str, output: Path, settings: Mapping[str, Any]) -> Iterator[OnMetrics]:
    """A log of the run in `output` with `settings` (the training configuration), for as long as the context lasts.

    It begins with the first row: a run that is refused leaves no trace in it.
    Raises TrainingError if there is none of this name, BackendError if its package is not installed.
    """
    if name not in _PACKAGES:
        raise TrainingError(f"there is no log '{name}'; expected one of {', '.join(LOGS)}.")
    require(_PACKAGES[name], f"--log {name}")
    module = import_module(f"cornernet.trainer.loop.logs.{name}_log")
    opened: list[OnMetrics] = []
    with ExitStack() as stack:

        def on_metrics(row: Mapping[str, Any]) -> None:
            if not opened:
                opened.append(stack.enter_context(module.log(output, settings, row["step"])))
            opened[0](row)

        yield on_metrics


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What a row measures: losses as train/..., validation as val/...; -1, COCO's word for "nothing there", is none."""
    kind = "val" if "epoch" in row else "train"
    return {f"{kind}/{name}": value for name, value in row.items()
            if name not in ("step", "epoch") and not (kind == "val" and value == -1)}  # fmt: skip
