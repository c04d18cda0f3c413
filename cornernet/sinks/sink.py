"""What every form of the results does."""

from __future__ import annotations

from typing import Protocol

from cornernet.engine.results.detections import Detections


class Sink(Protocol):
    """Takes the result of one picture or frame after the other. `found.index` is the number of its source."""

    def write(self, found: Detections) -> None:
        """Raises OSError."""

    def close(self) -> None:
        """After the last result, or when the run broke off: what is there is kept."""
