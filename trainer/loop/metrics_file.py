"""metrics.jsonl: a line per logged step and per validation, each step once, however often the run was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cornernet.engine.errors import TrainingError
from cornernet.engine.printable import printable
from cornernet.engine.whole_file import write_text_whole

_START = b'{"step"'


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl; a line cut short by a crash is left out."""
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and type(row.get("step")) is int:
            rows.append(row)
    return rows


def append_metrics(file: Path, row: dict[str, Any]) -> None:
    """One more line. Raises TrainingError if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    except OSError as error:
        raise _cannot_write(file, error) from error


def cut_metrics(file: Path, *, step: int, validated: int) -> None:
    """Before a run goes on: drop what it wrote after the resume file, because it will write that again.

    step: of the resume file; validated: the last epoch whose validation is in it. Raises TrainingError.
    """
    if not file.exists():
        return
    rows = [row for row in read_metrics(file) if row["step"] <= step and row.get("epoch", 0) <= validated]
    try:
        write_text_whole(file, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise _cannot_write(file, error) from error


def drop_metrics(file: Path) -> None:
    """Before a new run: what one left that ended before its first checkpoint is not the new run's.

    Raises TrainingError if the file is somebody else's.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        start = stream.read(len(_START))
    if start and not _START.startswith(start):
        raise TrainingError(
            f"{printable(file)} exists and was not written by a training; choose another run directory, or move it."
        )
    file.unlink()


def _cannot_write(file: Path, error: OSError) -> TrainingError:
    from cornernet.trainer.network.checkpoint import cannot_write  # torch, which a reader does without

    return cannot_write(file, error)
