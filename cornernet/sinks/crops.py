"""What lies in each box, as a picture of its own, in a folder a class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cornernet.engine.results.detections import Detections
from cornernet.engine.results.picture_file import write_picture


class Crops:
    """stems: beginning of the names of each source's crops; then the frame's number, then that of the object."""

    def __init__(self, folder: Path, stems: Sequence[str]) -> None:
        self._folder, self._stems = folder, stems

    def write(self, found: Detections) -> None:
        frame = "" if found.frame is None else f"-{found.frame:06d}"
        for number, (name, crop) in enumerate(zip(found.names, found.crops() if len(found) else [], strict=True)):
            # A class may be called anything; a folder may not.
            folder = self._folder / (re.sub(r"[^\w-]+", "_", name.encode("utf-8", "replace").decode())[:80] or "_")
            folder.mkdir(parents=True, exist_ok=True)
            write_picture(folder / f"{self._stems[found.index]}{frame}-{number}.jpg", crop)

    def close(self) -> None:
        pass
