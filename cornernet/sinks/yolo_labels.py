"""A text file a picture, as YOLO's trainers read it: class, centre x y, width, height, in fractions of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cornernet.engine.printable import printable
from cornernet.engine.results.detections import Detections


class YoloLabels:
    """stems: name without suffix of each source's file in `folder`; frames of videos have their number behind it."""

    def __init__(self, folder: Path, stems: Sequence[str], class_names: Sequence[str]) -> None:
        self._folder, self._stems = folder, stems
        folder.mkdir(parents=True, exist_ok=True)
        names = "".join(f"{printable(name)}\n" for name in class_names)
        (folder / "classes.txt").write_text(names, encoding="utf-8")

    def write(self, found: Detections) -> None:
        if found.error is not None:
            return
        frame = "" if found.frame is None else f"-{found.frame:06d}"
        centres = (found.normalised[:, :2] + found.normalised[:, 2:]) / 2
        sides = found.normalised[:, 2:] - found.normalised[:, :2]
        lines = [
            f"{label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"
            for label, (x, y), (width, height) in zip(found.labels.tolist(), centres.tolist(), sides.tolist())
        ]
        (self._folder / f"{self._stems[found.index]}{frame}.txt").write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        pass
