"""One line of JSON a picture, written as the results come; a later run can go on where it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from cornernet.engine.errors import OutputError
from cornernet.engine.results.detections import Detections
from cornernet.engine.whole_file import write_whole


class JsonLines:
    """A file, or stdout for '-', which stays open afterwards. more: go on behind what is there."""

    def __init__(self, name: str, *, more: bool = False) -> None:
        self._file = _stdout() if name == "-" else _file(Path(name), "a" if more else "w")

    def write(self, found: Detections) -> None:
        self._file.write(found.to_json() + "\n")

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> list[Detections]:
    """What an earlier run found. Raises OutputError.

    What is to be done again is cut off the file: a last line that was not finished, pictures and videos that failed,
    and a video that no other source follows, which may have been left in its middle.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    try:
        results = [Detections.from_json(line.decode("utf-8")) for line in lines]
    except ValueError as error:
        raise OutputError(f"{path} cannot be continued: {error}. Run without --resume to write it anew") from error
    again = {found.path for found in results if found.error is not None}
    if results and results[-1].frame is not None:
        again.add(results[-1].path)
    kept = b"".join(line for line, found in zip(lines, results, strict=True) if found.path not in again)
    if kept != content:
        write_whole(path.resolve(), lambda partial: partial.write_bytes(kept))
    return [found for found in results if found.path not in again]


def _file(path: Path, mode: str) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open(mode, encoding="utf-8")


def _stdout() -> IO[str]:
    if sys.stdout is None:
        raise OutputError("--json -: the standard output is closed")
    return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
