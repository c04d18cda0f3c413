"""The training loop (section 4.1): batches in, checkpoints, metrics and pictures out.

A run directory holds
    last.pt              resume file: weights, optimiser, step (tensors and plain containers only)
    last.safetensors     weights with the model card: what `cornernet export` takes
    best.safetensors     the same at the best validation AP
    metrics.jsonl        a line every `log_every` steps and a line per validation
    losses.png, ap.png, predictions.png
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.data.dataset import Batch, TrainBatches
from cornernet.trainer.loop import plots, resume_file
from cornernet.trainer.loop.card import make_card
from cornernet.trainer.loop.config import TrainConfig, learning_rate_at
from cornernet.trainer.loop.distributed import Ranks, any_rank, join_ranks, leave_ranks, sum_over_ranks
from cornernet.trainer.loop.interrupt import Interrupt
from cornernet.trainer.loop.losses import LossTerms, ObjectCounts, corner_loss, count_objects
from cornernet.trainer.loop.progress import Progress
from cornernet.trainer.loop.state import TrainState
from cornernet.trainer.loop.validation import measure_ap, predict_samples
from cornernet.trainer.network import checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset


@dataclass(frozen=True)
class TrainReport:
    """How a run ended. best_ap is -1 if it was never measured."""

    output: Path
    steps: int
    best_ap: float
    interrupted: bool


def train(
    config: TrainConfig,
    train_data: CocoDataset,
    val_data: CocoDataset | None,
    output: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> TrainReport:
    """Train `config.preset` on `train_data`, validate on `val_data`, leave everything in `output`.

    resume continues an interrupted run exactly; init starts from the weights of a checkpoint (fine-tuning).
    Raises TrainingError if the loss stops being finite or a checkpoint cannot be written; the last good one stays.
    """
    ranks = join_ranks(device)
    try:
        run = _Run(config, train_data, val_data, output, ranks)
        if resume:
            run.state.restore(resume_file.load_resume(output / "last.pt"))
        elif (output / "last.pt").exists():
            raise TrainingError(f"{output} already holds a run; continue it with --resume or choose another directory.")
        elif init is not None:
            checkpoint.transfer_weights(run.state.network, checkpoint.read_safetensors(init)[1])
        with Progress(config.epochs, enabled=ranks.is_main and not quiet) as progress, Interrupt() as interrupt:
            return run.to_the_end(progress, interrupt)
    finally:
        leave_ranks()


class _Run:
    """One process's part of a run."""

    def __init__(
        self, config: TrainConfig, train_data: CocoDataset, val_data: CocoDataset | None, output: Path, ranks: Ranks
    ) -> None:
        torch.manual_seed(config.seed)
        network = CornerNet(preset(config.preset, len(train_data.class_names), corner_pooling=config.corner_pooling))
        if config.sync_batch_norm and ranks.world > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.config, self.ranks, self.output = config, ranks, output
        self.card: ModelCard = make_card(config, network, train_data)
        self.val_data = val_data
        self.state = TrainState(config, network, ranks.device)
        self.model = _wrap(self.state.network, config, ranks)
        self.batches = TrainBatches(train_data, network.config, self.card, config, rank=ranks.rank, world=ranks.world)

    def to_the_end(self, progress: Progress, interrupt: Interrupt) -> TrainReport:
        config, state, per_epoch = self.config, self.state, self.batches.steps_per_epoch
        self.logged = (state.step, time.perf_counter())
        interrupted = False
        while state.step < config.epochs * per_epoch and not interrupted:
            epoch, done = divmod(state.step, per_epoch)
            for batch in self.batches.epoch(epoch, first_step=done):
                self._step(batch, progress)
                interrupted = any_rank(interrupt.asked, self.ranks.device)
                if interrupted:
                    break
            else:
                epoch += 1
                last = epoch == config.epochs
                if last or epoch % config.validate_every == 0:
                    self._validate(epoch, progress)
                if last or epoch % config.checkpoint_every == 0:
                    self._save()
                progress.epoch_done(epoch)
        if interrupted:
            self._save()
        if self.ranks.is_main:
            self._draw()
        return TrainReport(self.output, state.step, state.best_ap, interrupted)

    def _step(self, batch: Batch, progress: Progress) -> None:
        config, state = self.config, self.state
        rate = learning_rate_at(state.step, config.epochs * self.batches.steps_per_epoch, config)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        terms = self._forward_backward(batch)
        state.step += 1
        if state.step % config.log_every == 0 or state.step == 1:
            self._log(terms, rate, progress)

    def _forward_backward(self, batch: Batch) -> LossTerms:
        config, state, device = self.config, self.state, self.ranks.device
        batch = batch.to(device, channels_last=config.channels_last)
        self.model.train()
        if config.freeze_batch_norm:
            _freeze_batch_norm(self.model)
        with _autocast(config, device):
            stacks = self.model(batch.images)
        terms = corner_loss(
            stacks,
            batch.targets,
            pull_weight=config.pull_weight,
            push_weight=config.push_weight,
            offset_weight=config.offset_weight,
            counts=ObjectCounts(*sum_over_ranks(torch.stack(count_objects(batch.targets))).unbind()),
            processes=self.ranks.world,
        )
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(terms.total).backward()
        if config.gradient_clip is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.network.parameters(), config.gradient_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.averaged is not None:
            state.averaged.update_parameters(state.network)
        return terms

    def _log(self, terms: LossTerms, rate: float, progress: Progress) -> None:
        values = [round(value, 6) for value in (sum_over_ranks(torch.stack(terms)) / self.ranks.world).tolist()]
        row = {"step": self.state.step, **dict(zip(("loss", "focal", "pull", "push", "offset"), values, strict=True))}
        self._check_finite(row["loss"])
        before, self.logged = self.logged, (self.state.step, time.perf_counter())
        seconds_per_step = (self.logged[1] - before[1]) / (self.logged[0] - before[0])
        row |= {"learning_rate": rate, "images_per_second": round(self.config.batch_size / seconds_per_step, 2)}
        self._append(row)
        progress.step(self.state.step / self.batches.steps_per_epoch, row)

    def _check_finite(self, loss: float) -> None:
        if loss - loss != 0:  # NaN or infinite
            kept = self.output / "last.pt"
            raise TrainingError(
                f"the loss became {loss} at step {self.state.step}. "
                + (f"The last good checkpoint is {kept}. " if kept.exists() else "No checkpoint had been written yet. ")
                + "Try a smaller --learning-rate, --set gradient_clip=10, or --precision fp32."
            )

    def _validate(self, epoch: int, progress: Progress) -> None:
        if not self.ranks.is_main or self.val_data is None:
            return
        report = measure_ap(self.state.deployable, self.card, self.val_data, self.ranks.device)
        self._append({"step": self.state.step, "epoch": epoch, **report.stats.values})
        ap = report.stats["AP"]
        progress.validated(ap)
        if ap > self.state.best_ap:
            self.state.best_ap = ap
            checkpoint.save_checkpoint(self.output / "best.safetensors", self.state.deployable, self.card)

    def _save(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.state.network.parameters()):
            self._check_finite(float("nan"))
        if self.ranks.is_main:
            checkpoint.save_checkpoint(self.output / "last.safetensors", self.state.deployable, self.card)
            resume_file.save_resume(self.output / "last.pt", self.state.as_dict())

    def _append(self, row: dict[str, float]) -> None:
        if self.ranks.is_main:
            self.output.mkdir(parents=True, exist_ok=True)
            with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _draw(self) -> None:
        metrics = plots.read_metrics(self.output / "metrics.jsonl")
        plots.plot_losses(metrics, self.output / "losses.png")
        if self.val_data is not None:
            plots.plot_ap(metrics, self.output / "ap.png")
            samples = self.val_data.samples[:8]
            found = predict_samples(self.state.deployable, self.card, samples, self.ranks.device)
            plots.draw_beside_truth(samples, found, self.card.class_names, self.output / "predictions.png")


def _wrap(network: CornerNet, config: TrainConfig, ranks: Ranks) -> nn.Module:
    """What the forward pass runs through; the state keeps the bare network."""
    model: nn.Module = network
    if ranks.world > 1:
        ids = [ranks.device.index] if ranks.device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(model, device_ids=ids)
    return torch.compile(model) if config.compile else model  # type: ignore[return-value]


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    if config.precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if config.precision == "bf16" else torch.float16
    return torch.autocast(device.type, kind)
