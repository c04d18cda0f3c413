"""The training run (section 4.1): batches in, checkpoints, metrics and pictures out.

A run directory holds
    last.pt              resume file: weights, optimiser, step (tensors and plain containers only)
    last.safetensors     weights with the model card: what `cornernet export` takes
    best.safetensors     the same at the best validation AP
    metrics.jsonl        a line every `log_every` steps and at the end of each epoch, and a line per validation
    losses.png, ap.png, predictions.png
    run.lock             while a process trains there
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cornernet.engine.errors import CornerNetError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.data.dataset import Batch, TrainBatches
from cornernet.trainer.data.workers import automatic_workers
from cornernet.trainer.loop import resume_file
from cornernet.trainer.loop.card import make_card
from cornernet.trainer.loop.config import TrainConfig, learning_rate_at
from cornernet.trainer.loop.distributed import Ranks, any_rank, join_ranks, leave_ranks, sum_over_ranks
from cornernet.trainer.loop.failures import check_finite, continuation, explained
from cornernet.trainer.loop.interrupt import Interrupt, Interrupted
from cornernet.trainer.loop.logs.open_log import OnMetrics
from cornernet.trainer.loop.method import CORNERS, Kind
from cornernet.trainer.loop.metrics_file import append_metrics, cut_metrics, drop_metrics
from cornernet.trainer.loop.optimise import optimise, wrap
from cornernet.trainer.loop.origin import Origin, find_origin, network_of, transfer
from cornernet.trainer.loop.progress import Progress
from cornernet.trainer.loop.run_lock import locked
from cornernet.trainer.loop.run_pictures import draw_run
from cornernet.trainer.loop.state import TrainState
from cornernet.trainer.loop.validation import check_validation, measure_ap
from cornernet.trainer.network import checkpoint
from cornernet.trainer.network.presets import NetworkConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """How a run ended. best_ap is -1 if it was never measured; stopped_early: `patience` ended it."""

    output: Path
    steps: int
    best_ap: float
    interrupted: bool
    stopped_early: bool = False


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
    on_metrics: OnMetrics | None = None,
    kind: Kind = CORNERS,
) -> TrainReport:
    """Train `config.preset` on `train_data`, validate on `val_data`, leave everything in `output`.

    resume continues an interrupted run exactly. init starts from the weights of a checkpoint (fine-tuning): its
    network, colours and normalisation are taken over; only what belongs to classes that it does not know starts anew.
    on_metrics is called with each row of metrics.jsonl, in process 0 (trainer/loop/logs has some).
    kind: of another detector, to compare with, on the same loop; validation is for corners only.

    Raises:
        TrainingError: the loss stops being finite, memory is full, a file cannot be written, another training is in
            `output`, `config` contradicts the checkpoint, a validation fails. The last good checkpoint stays.
        DatasetError: the validation data cannot be scored with the classes of the training data. No step is done.
        ModelError: `init` cannot be used.
    """
    ranks = join_ranks(device)
    try:
        with ExitStack() as stack:
            ranks.on_main(lambda: stack.enter_context(locked(output)))
            stack.enter_context(explained(output / "last.pt"))
            origin = find_origin(config, output, resume=resume, init=init)
            settings = (origin.config, train_data, val_data, output, ranks)
            run = _Run(*settings, network=origin.network, sees_like=origin.card, kind=kind)
            stack.callback(run.close)
            run.begin(origin)
            del origin  # it holds weights
            run.on_metrics = on_metrics
            progress = stack.enter_context(Progress(config.epochs, enabled=ranks.is_main and not quiet))
            return run.to_the_end(progress, stack.enter_context(Interrupt()))
    finally:
        leave_ranks()


class _Run:
    """One process's part of a run."""

    def __init__(
        self,
        config: TrainConfig,
        train_data: CocoDataset,
        val_data: CocoDataset | None,
        output: Path,
        ranks: Ranks,
        *,
        network: NetworkConfig | None = None,
        sees_like: ModelCard | None = None,
        kind: Kind = CORNERS,
    ) -> None:
        torch.manual_seed(config.seed)
        classes = len(train_data.class_names)
        description = network_of(config, classes) if network is None else replace(network, num_classes=classes)
        bare = kind.build(description)
        if config.sync_batch_norm and ranks.world > 1:
            bare = nn.SyncBatchNorm.convert_sync_batchnorm(bare)
        self.config, self.ranks, self.output, self.val_data = config, ranks, output, val_data
        self.on_metrics: OnMetrics | None = None
        self.card: ModelCard = make_card(config, bare, train_data, sees_like=sees_like)
        self._said: set[str] = set()
        if val_data is not None:
            for note in check_validation(self.card, val_data):
                self.say(f"validation: {note}")
        self.method = kind.method(description, self.card, config)
        self.batches = TrainBatches(
            train_data, self.method.sampling, config,
            rank=ranks.rank, world=ranks.world, workers=_workers(config, description, ranks),
        )  # fmt: skip
        self.state = TrainState(
            config, bare, ranks.device, card=self.card, steps_per_epoch=self.batches.steps_per_epoch
        )
        self.model = wrap(self.state.network, config, ranks)

    def begin(self, origin: Origin) -> None:
        """Take over weights and, of an interrupted run, everything else. Raises TrainingError."""
        file, state = self.output / "metrics.jsonl", self.state
        if origin.saved is not None:
            assert origin.card is not None
            if origin.card.class_names != self.card.class_names:
                raise TrainingError("cannot resume: the training data has other classes than before; start a new run.")
            state.restore(origin.saved)
            self.ranks.on_main(lambda: cut_metrics(file, step=state.step, validated=state.validated))
            return
        if origin.source is not None:
            assert origin.card is not None
            taken = transfer(state.network, self.card, origin.source, origin.card)
            colours = origin.card.channel_order.upper()
            self.say(f"{origin.name}: {taken} (network {state.network.config.name}, {colours} pictures)")
        self.ranks.on_main(lambda: drop_metrics(file))

    def close(self) -> None:
        """Let go of what other processes and threads have a part in; `leave_ranks` asks for that."""
        self.model = self.state.network
        self.batches.close()

    def say(self, line: str) -> None:
        """Tell people something, once."""
        if self.ranks.is_main and line not in self._said:
            self._said.add(line)
            _log.warning("%s", line)

    def to_the_end(self, progress: Progress, interrupt: Interrupt) -> TrainReport:
        state, per_epoch = self.state, self.batches.steps_per_epoch
        self.logged = (state.step, time.perf_counter())
        interrupted = self._validate_if_due(progress, interrupt)  # the one that an interruption prevented
        while not (interrupted or self._is_over()):
            epoch, done = divmod(state.step, per_epoch)
            for batch in self.batches.epoch(epoch, first_step=done):
                self._step(batch, progress)
                interrupted = any_rank(interrupt.asked, self.ranks.device)
                if interrupted:
                    break
            before = time.perf_counter()
            if interrupted or self._awaits_validation() or self._ends_epoch(self.config.checkpoint_every):
                self.ranks.on_main(self._save)
            if not interrupted:
                interrupted = self._validate_if_due(progress, interrupt)
                progress.epoch_done(epoch + 1)
            self.logged = (self.logged[0], self.logged[1] + time.perf_counter() - before)  # only steps count
        self.ranks.on_main(self._draw)
        self.close()
        unfinished = interrupted and (self._awaits_validation() or not self._is_over())
        early = not unfinished and state.step < self.config.epochs * per_epoch
        return TrainReport(self.output, state.step, state.best_ap, unfinished, early)

    def _is_over(self) -> bool:
        state, patience = self.state, self.config.patience
        if state.step >= self.config.epochs * self.batches.steps_per_epoch:
            return True
        return patience is not None and state.without_gain >= patience

    def _ends_epoch(self, every: int) -> bool:
        """Whether this step is the last of an epoch, and of the last one or of one in `every`."""
        epoch, rest = divmod(self.state.step, self.batches.steps_per_epoch)
        return rest == 0 and epoch > 0 and (epoch == self.config.epochs or epoch % every == 0)

    def _step(self, batch: Batch, progress: Progress) -> None:
        config, state, per_epoch = self.config, self.state, self.batches.steps_per_epoch
        rate = learning_rate_at(state.step, config.epochs * per_epoch, config)
        terms = optimise(self.model, state, batch, self.ranks, rate, self.method)
        # The end of an epoch too: what is shown there must not be of a step long ago.
        if state.step % config.log_every == 0 or state.step == 1 or state.step % per_epoch == 0:
            self._log(terms, rate, progress)

    def _log(self, terms: Any, rate: float, progress: Progress) -> None:
        values = [round(value, 6) for value in (sum_over_ranks(torch.stack(terms)) / self.ranks.world).tolist()]
        row = {"step": self.state.step, **dict(zip(("loss", *terms._fields[1:]), values, strict=True))}
        check_finite(row["loss"], self.state.step, self.output)
        before, self.logged = self.logged, (self.state.step, time.perf_counter())
        seconds_per_step = (self.logged[1] - before[1]) / (self.logged[0] - before[0])
        row |= {"learning_rate": rate, "images_per_second": round(self.batches.batch_size / seconds_per_step, 2)}
        self._record(row)
        progress.step(self.state.step / self.batches.steps_per_epoch, row)

    def _awaits_validation(self) -> bool:
        epoch = self.state.step // self.batches.steps_per_epoch
        due = self.val_data is not None and self._ends_epoch(self.config.validate_every)
        return due and epoch > self.state.validated

    def _validate_if_due(self, progress: Progress, interrupt: Interrupt) -> bool:
        """Measure AP at the end of an epoch, after its weights are saved. True if a signal asks the run to end."""
        if not self._awaits_validation():
            return False
        state, epoch = self.state, self.state.step // self.batches.steps_per_epoch
        ap = self.ranks.on_main(lambda: self._measure(epoch, interrupt))
        if ap == ap:  # NaN: interrupted
            best = self._is_best(ap)
            state.best_ap, state.without_gain = (ap, 0) if best else (state.best_ap, state.without_gain + 1)
            state.validated = epoch
            progress.validated(ap)
            self.ranks.on_main(self._save_state)
        return any_rank(interrupt.asked, self.ranks.device)

    def _is_best(self, ap: float) -> bool:
        return self.state.validated == 0 or ap > self.state.best_ap

    def _measure(self, epoch: int, interrupt: Interrupt) -> float:
        """Validation AP, NaN if a signal ended it. In process 0 only."""
        assert self.val_data is not None
        share = self.batches.batch_size // self.ranks.world  # what fits with gradients fits without
        try:
            report = measure_ap(self.state.deployable, self.card, self.val_data, self.ranks.device,
                                batch_size=min(8, share), progress=lambda images: interrupt.check())  # fmt: skip
        except Interrupted:
            return float("nan")
        except CornerNetError as error:
            then = continuation(self.output / "last.pt")
            raise TrainingError(f"the validation after epoch {epoch} failed: {error}{then}") from error
        for line in report.failures:
            self.say(f"validation: {line}; its objects count as not found")
        unusable = {"unusable_images": len(report.errors)} if report.errors else {}
        self._record({"step": self.state.step, "epoch": epoch, **report.stats.values, **unusable})
        if self._is_best(report.stats["AP"]):
            checkpoint.save_checkpoint(self.output / "best.safetensors", self.state.deployable, self.card)
        return report.stats["AP"]

    def _save(self) -> None:
        for tensor in self.state.network.state_dict().values():
            if not bool(torch.isfinite(tensor).all()):
                check_finite(float("nan"), self.state.step, self.output)
        checkpoint.save_checkpoint(self.output / "last.safetensors", self.state.deployable, self.card)
        self._save_state()

    def _save_state(self) -> None:
        resume_file.save_resume(self.output / "last.pt", self.state.as_dict())

    def _record(self, row: dict[str, Any]) -> None:
        if self.ranks.is_main:
            append_metrics(self.output / "metrics.jsonl", row)
            if self.on_metrics is not None:
                self.on_metrics(row)

    def _draw(self) -> None:
        problem = draw_run(self.output, self.state.deployable, self.card, self.val_data, self.ranks.device)
        if problem is not None:
            self.say(f"the pictures of the run could not all be drawn: {problem}")


def _workers(config: TrainConfig, network: NetworkConfig, ranks: Ranks) -> int:
    if config.workers is not None:
        return config.workers
    height, width = config.size
    cells = -(-height // network.stride) * -(-width // network.stride)
    numbers = 3 * height * width + 2 * network.num_classes * cells  # the image, and two heatmaps; the rest is small
    return automatic_workers(ranks.device, 4 * config.batch_size // ranks.world * numbers, trainings=ranks.here)
