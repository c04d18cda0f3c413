"""Everything that decides a training run, in one frozen object; one TOML file per experiment."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as short
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cornernet.engine.errors import TrainingError
from cornernet.engine.printable import printable
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.data.crop import CropConfig
from cornernet.trainer.loop.saccade_loss import SaccadeLossConfig


class TrainConfig(BaseModel):
    """Defaults follow section 4.1 of the paper where it names a value; the rest is what a short CPU run needs.

    size is (height, width) of the training canvas [px]; epochs and *_every count passes over the training images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "tiny"
    size: tuple[int, int] = (511, 511)
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(16, ge=1, description="images per optimiser step, over all processes")
    seed: int = 317

    learning_rate: float = Field(2.5e-4, gt=0)
    schedule: Literal["step", "cosine"] = Field("step", description="step: a tenth of the rate for the last tenth")
    warmup_steps: int = Field(0, ge=0)
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    freeze_batch_norm: bool = Field(False, description="fine-tuning with few images: keep the running statistics")
    sync_batch_norm: bool = Field(False, description="statistics over all processes; needs a GPU")

    pull_weight: float = Field(0.1, ge=0)
    push_weight: float = Field(0.1, ge=0)
    offset_weight: float = Field(1.0, ge=0)
    radius: Literal["object", "fixed", "none"] = Field("object", description="Table 2: penalty reduction radius")
    corner_pooling: bool = Field(True, description="Table 1: off trains without corner pooling")
    augment: AugmentConfig = AugmentConfig()
    crops: CropConfig = Field(CropConfig(), description="of networks with attention, in place of views")
    saccade_loss: SaccadeLossConfig = Field(SaccadeLossConfig(), description="of networks with attention")

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    ema_decay: float | None = Field(None, gt=0, lt=1)
    workers: int | None = Field(
        None, ge=0, description="processes that prepare batches; None: on a GPU as many as help, else none"
    )

    top_k: int | None = Field(None, ge=1, le=1000, description="corners per branch; None: the preset's")
    num_dets: int | None = Field(None, ge=1, le=3840, description="candidate boxes; None: the preset's")
    max_distance: float | None = Field(None, gt=0, description="embedding threshold of the decoder; None: 0.5")
    validate_every: int = Field(5, ge=1, description="epochs between two measurements of validation AP")
    patience: int | None = Field(None, ge=1, description="end after so many validations without a better AP")
    checkpoint_every: int = Field(1, ge=1, description="epochs between two resume files")
    log_every: int = Field(10, ge=1, description="optimiser steps between two lines of metrics.jsonl")

    @classmethod
    def read(cls, file: Path | None = None, **overrides: Any) -> TrainConfig:
        """The TOML `file`, if given, with `overrides` on top. Raises TrainingError naming the first wrong key."""
        values: dict[str, Any] = {}
        if file is not None:
            try:
                values = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:  # wrong TOML and text that is not UTF-8 are ValueErrors
                raise TrainingError(f"{printable(file)}: cannot be read as TOML: {error}") from error
        values.update({key: value for key, value in overrides.items() if value is not None})
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            origin = f" {printable(file)}" if file is not None else ""
            raise TrainingError(f"training configuration{origin}: {_explain(error.errors()[0])}") from error


def _explain(problem: Mapping[str, Any]) -> str:
    """What is wrong with one setting, in a sentence: `problem` is an entry of pydantic's list of errors."""
    *outer, last = [str(part) for part in problem["loc"]]
    key = ".".join([*outer, last])
    if problem["type"] != "extra_forbidden":
        return f"{key} is {short(problem['input'])}; {problem['msg'].replace('Input should', 'it should')}."
    parts: dict[str, type[BaseModel]] = {
        "augment": AugmentConfig,
        "crops": CropConfig,
        "saccade_loss": SaccadeLossConfig,
    }
    fields = parts.get(".".join(outer), TrainConfig).model_fields
    meant = get_close_matches(last, fields, n=1)
    suggestion = f"did you mean {'.'.join([*outer, meant[0]])}? " if meant else ""
    return f"there is no {key}; {suggestion}Known are {', '.join(sorted(fields))}."


def learning_rate_at(step: int, total: int, config: TrainConfig) -> float:
    """Rate of optimiser step `step` of `total` (both count from 0). Official: a tenth for the last tenth of the run."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.learning_rate * (0.1 if step >= 0.9 * total else 1.0)
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
