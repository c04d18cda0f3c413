"""What must survive an interruption: weights, optimiser, averaged weights, gradient scale, how far the run is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.network.corner_net import CornerNet

# What a resumed run may change without becoming another run.
RESUMABLE = {"epochs", "workers", "validate_every", "checkpoint_every", "log_every", "compile", "patience"}


class TrainState:
    """A run in progress. `as_dict` and `restore` are exact: a resumed run equals the uninterrupted one.

    step:            optimiser steps done, of `steps_per_epoch` an epoch (0: unknown)
    validated:       the last epoch at whose end validation AP was measured, 0: none
    best_ap:         the best of them, -1: none
    without_gain:    measurements since the best one
    card:            says what the network sees (colours, mean, deviation) and finds
    """

    def __init__(
        self,
        config: TrainConfig,
        network: CornerNet,
        device: torch.device,
        *,
        card: ModelCard | None = None,
        steps_per_epoch: int = 0,
    ) -> None:
        self.config, self.card, self.steps_per_epoch = config, card, steps_per_epoch
        self.network = network.to(device)
        if config.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)
        self.averaged = averaged_copy(self.network, config.ema_decay) if config.ema_decay else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.step = self.validated = self.without_gain = 0
        self.best_ap = -1.0

    @property
    def deployable(self) -> CornerNet:
        """The weights worth keeping: the averaged ones where averaging is on."""
        if self.averaged is None:
            return self.network
        assert isinstance(self.averaged.module, type(self.network))
        return self.averaged.module

    def as_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(mode="json"),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged is not None else {},
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best_ap": self.best_ap,
            "validated": self.validated,
            "without_gain": self.without_gain,
            "steps_per_epoch": self.steps_per_epoch,
            "network_config": self.network.config.to_dict(),
            "card": self.card.to_json() if self.card is not None else "",
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from `as_dict`. Raises TrainingError if the saved run is another one."""
        own = self.config.model_dump(mode="json")
        was = TrainConfig().model_dump(mode="json") | saved["config"]  # what came after it was written is the default
        changed = sorted(key for key in own if key not in RESUMABLE and own[key] != was[key])
        if changed:
            key = changed[0]
            raise TrainingError(
                f"cannot resume: {', '.join(changed)} differ from the interrupted run ({key} was "
                f"{was[key]!r}, now {own[key]!r}). Give the old values, or start a new run directory."
            )
        if self.steps_per_epoch != saved["steps_per_epoch"]:
            raise TrainingError(
                f"cannot resume: an epoch had {saved['steps_per_epoch']} steps and now has {self.steps_per_epoch}: the "
                "training images are others than before. Give the old ones, or start a new run directory."
            )
        try:
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            if self.averaged is not None:
                self.averaged.load_state_dict(saved["averaged"])
            self.scaler.load_state_dict(saved["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"cannot resume: the saved weights are of another network: {error}") from error
        self._check_optimizer()
        self.step, self.best_ap = saved["step"], saved["best_ap"]
        self.validated, self.without_gain = saved["validated"], saved["without_gain"]

    def _check_optimizer(self) -> None:
        """Adam takes averages of any shape and would fail, or spread them, at the first step."""
        for parameter, averages in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                average = averages.get(name)
                if average is None or average.shape != parameter.shape:
                    raise TrainingError("cannot resume: the saved state of the optimiser is of another network.")


def averaged_copy(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and batch-norm statistics.

    The decay starts small, (1 + n) / (10 + n) after n steps, so that a short run is not an average of its random start.
    """

    def update(averages: Any, currents: Any, steps: torch.Tensor | int) -> None:
        n = int(steps)
        keep = min(decay, (1 + n) / (10 + n))
        if torch.is_floating_point(averages[0]):
            torch._foreach_lerp_(averages, currents, 1 - keep)
        else:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
