"""A table with a line an object, for spreadsheets and pandas."""

from __future__ import annotations

import csv
from pathlib import Path

from cornernet.engine.printable import printable
from cornernet.engine.results.detections import Detections

COLUMNS = ("path", "index", "frame", "x1", "y1", "x2", "y2", "score", "label", "name")


class CsvTable:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)

    def write(self, found: Detections) -> None:
        for row in found.rows():
            sides = [round(row[side], 2) for side in ("x1", "y1", "x2", "y2")]
            about = [printable(row["path"] or ""), row["index"], row["frame"]]
            self._rows.writerow([*about, *sides, round(row["score"], 5), row["label"], printable(row["name"])])

    def close(self) -> None:
        self._file.close()


def our_table(path: Path) -> bool:
    """A table that begins as ours do."""
    with path.open("rb") as file:
        return file.readline().strip() == ",".join(COLUMNS).encode()
