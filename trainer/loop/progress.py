"""The progress bar of a training run; silent where there is no terminal to draw on, a line per epoch instead."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Epochs done, loss, last AP, time left."""

    def __init__(self, epochs: int, *, enabled: bool) -> None:
        self._console = Console(stderr=True, quiet=not enabled)
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[epoch]}/{task.total:.0f} epochs"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=epochs, epoch=0, status="")
        self._epochs = epochs
        self._first: tuple[float, float] | None = None  # epochs done and clock [s] at the first step that was shown
        self._loss, self._ap = "", ""

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, epochs: float, row: dict[str, float]) -> None:
        self._first = self._first or (epochs, time.monotonic())
        self._loss = f"loss {row['loss']:.3f}"
        self._bar.update(self._task, completed=epochs, status=f"{self._loss} {self._ap}")

    def validated(self, ap: float) -> None:
        self._ap = f"AP {ap:.3f}"

    def epoch_done(self, epoch: int) -> None:
        self._bar.update(self._task, completed=epoch, epoch=epoch, status=f"{self._loss} {self._ap}")
        if not self._console.is_terminal:
            parts = (f"epoch {epoch}", self._loss, self._ap, self._left(epoch))
            self._console.print(" ".join(part for part in parts if part), highlight=False)

    def _left(self, epoch: int) -> str:
        """How long the rest takes at the speed so far, validations and checkpoints included; '' if nobody knows."""
        if self._first is None or epoch >= self._epochs or epoch <= self._first[0]:
            return ""
        seconds_per_epoch = (time.monotonic() - self._first[1]) / (epoch - self._first[0])
        return f"left {timedelta(seconds=round(seconds_per_epoch * (self._epochs - epoch)))}"
