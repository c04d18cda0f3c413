"""The progress bar of a training run; silent where there is no terminal to draw on, a line per epoch instead."""

from __future__ import annotations

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
        self._loss, self._ap = "", ""

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, epochs: float, row: dict[str, float]) -> None:
        self._loss = f"loss {row['loss']:.3f}"
        self._bar.update(self._task, completed=epochs, status=f"{self._loss} {self._ap}")

    def validated(self, ap: float) -> None:
        self._ap = f"AP {ap:.3f}"

    def epoch_done(self, epoch: int) -> None:
        self._bar.update(self._task, completed=epoch, epoch=epoch, status=f"{self._loss} {self._ap}")
        if not self._console.is_terminal:
            self._console.print(f"epoch {epoch} {self._loss} {self._ap}", highlight=False)
