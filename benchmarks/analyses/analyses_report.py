"""What an analysis found: tables for the terminal, JSON for a file, Markdown for a README, all from the same rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from cornernet.engine.errors import DatasetError

Cell = str | int | float | None
"""A float is a fraction, shown in per cent as in the paper; None, or a float below 0 (nothing to measure): a dash."""


@dataclass(frozen=True)
class Table:
    """columns: the heads; rows: the cells, one per column, the first is the row's name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table '{self.title}': row {row} has {len(row)} cells, {len(self.columns)} columns")


@dataclass(frozen=True)
class Report:
    """One analysis of one or more models on one data set.

    analysis: name of the subcommand. settings: everything that decides the numbers. notes: what their reader must know.
    """

    analysis: str
    command: str
    settings: dict[str, Any]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = field(default=())

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Inverse of `write`. Raises DatasetError if the file is not a report."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            tables = tuple(
                Table(table["title"], tuple(table["columns"]), tuple(tuple(row) for row in table["rows"]))
                for table in values["tables"]
            )
            fields = (values["analysis"], values["command"], values["settings"])
            return cls(*fields, tables, tuple(values["notes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path}: not a report of `cornernet analyse` ({error!r}); run the analysis again"
            ) from error

    def print(self, console: Console) -> None:
        """Tables and notes on the terminal."""
        for table in self.tables:
            console.print(_rich(table))
        for note in self.notes:
            console.print(note, style="dim", highlight=False)

    def to_markdown(self) -> str:
        """The command, the tables and the notes."""
        blocks = [f"```\n{self.command}\n```", *(_markdown(table) for table in self.tables), *self.notes]
        return "\n\n".join(blocks) + "\n"


def shown(cell: Cell) -> str:
    """A cell as text: fractions in per cent with one digit."""
    if cell is None or (isinstance(cell, float) and cell < 0):
        return "-"
    return f"{100 * cell:.1f}" if isinstance(cell, float) else str(cell)


def difference(value: float, baseline: float) -> str:
    """Signed difference of two fractions in per cent; a dash where one of them was not measured."""
    return "-" if min(value, baseline) < 0 else f"{100 * (value - baseline):+.1f}"


def _rich(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left", title_style="bold")
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    for row in table.rows:
        drawn.add_row(*map(shown, row))
    return drawn


def _markdown(table: Table) -> str:
    lines = ["| " + " | ".join(table.columns) + " |", "|---" + "|---:" * (len(table.columns) - 1) + "|"]
    lines += ["| " + " | ".join(map(shown, row)) + " |" for row in table.rows]
    return "\n".join([f"**{table.title}**", "", *lines])
