"""One line of JSON a picture, written as the results come; a later run can go on where it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from cornernet.engine.errors import OutputError
from cornernet.engine.results.detections import Detections


class JsonLines:
    """A file, or stdout for '-', which stays open afterwards. more: go on behind what is there."""

    def __init__(self, name: str, *, more: bool = False) -> None:
        self._file = _stdout() if name == "-" else _file(Path(name), "a" if more else "w")

    def write(self, found: Detections) -> None:
        self._file.write(found.to_json() + "\n")

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> list[Detections]:
    """What an earlier run left. A last line that was not finished is cut off the file. Raises OutputError."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [Detections.from_json(line) for line in whole.decode("utf-8").splitlines()]
    except ValueError as error:
        raise OutputError(f"{path} cannot be continued: {error}. Run without --resume to write it anew") from error


def _file(path: Path, mode: str) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open(mode, encoding="utf-8")


def _stdout() -> IO[str]:
    if sys.stdout is None:
        raise OutputError("--json -: the standard output is closed")
    return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
