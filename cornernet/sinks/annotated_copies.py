"""Annotated copies of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cornernet.engine.results.detections import Detections


class AnnotatedCopies:
    """paths: where the copy of each source goes."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def write(self, found: Detections) -> None:
        if found.error is None and found.frame is None:
            self._paths[found.index].parent.mkdir(parents=True, exist_ok=True)
            found.save(self._paths[found.index])

    def close(self) -> None:
        pass
