"""The fields of a training's configuration, from the models that check them."""

from __future__ import annotations

import inspect
from typing import Any

from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.loop.config import TrainConfig


def configuration_page() -> str:
    """A table for the run and one for its augmentation."""
    parts = ["# Training configuration"]
    for model, prefix in ((TrainConfig, ""), (AugmentConfig, "augment.")):
        parts += [f"## {model.__name__}", inspect.getdoc(model) or "", _table(model, prefix)]
    return "\n\n".join(parts) + "\n"


def _table(model: Any, prefix: str) -> str:
    rows = ["| field | default | |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "see below" if name == "augment" else f"`{field.get_default(call_default_factory=True)!r}`"
        rows.append(f"| `{prefix}{name}` | {default} | {field.description or ''} |")
    return "\n".join(rows)
