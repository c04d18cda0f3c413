"""Annotated videos, at the rate of their sources; whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cornernet.engine.errors import OutputError
from cornernet.engine.printable import printable
from cornernet.engine.reading.video import Video
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.picture_file import MARK

CODES = {".mp4": "mp4v", ".avi": "MJPG"}
"""What OpenCV's own wheel can write everywhere."""


@dataclass
class _Writing:
    """A video that is being written, and how many frames it should have."""

    writer: cv2.VideoWriter
    partial: Path
    height: int
    width: int
    frames: int = 0


class Videos:
    """targets: for the number of each source its file, .mp4 or .avi, and the video it is made of."""

    def __init__(self, targets: Mapping[int, tuple[Path, Video]]) -> None:
        self._targets = targets
        # A camera is asked before it is read: it cannot be opened twice. Files are asked when their turn comes.
        self._rates = {number: source.rate for number, (_, source) in targets.items() if source.live}
        self._open: dict[int, _Writing] = {}

    def write(self, found: Detections) -> None:
        self._finish(last=found.index)
        if found.error is not None or found.frame is None:
            return
        picture = found.draw()
        if found.index not in self._open:
            self._open[found.index] = self._begin(found.index, picture)
        video = self._open[found.index]
        if picture.shape[:2] != (video.height, video.width):  # a stream that came back in another size
            picture = cv2.resize(picture, (video.width, video.height), interpolation=cv2.INTER_AREA)
        video.writer.write(picture)
        video.frames += 1

    def close(self) -> None:
        """What a camera gave until Ctrl-C is a video too."""
        self._finish()

    def _begin(self, number: int, picture: np.ndarray) -> _Writing:
        path, source = self._targets[number]
        rate = self._rates.get(number) or source.rate
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem[:40]}.{os.getpid()}.part{path.suffix}")
        height, width = picture.shape[:2]
        code = cv2.VideoWriter.fourcc(*CODES[path.suffix.lower()])
        writer = cv2.VideoWriter(str(partial), code, rate, (width, height))
        if not writer.isOpened():
            partial.unlink(missing_ok=True)
            raise OutputError(f"{printable(path)}: OpenCV cannot write a video of {width}x{height} pixels there")
        return _Writing(writer, partial, height, width)

    def _finish(self, last: int | None = None) -> None:
        """Close the files of all sources: they come one after the other."""
        for number in [number for number in self._open if number != last]:
            video = self._open.pop(number)
            path = self._targets[number][0]
            try:
                video.writer.release()
                _check_whole(video, path)
                with video.partial.open("ab") as file:
                    file.write(_mark(path))
                video.partial.replace(path)
            finally:
                video.partial.unlink(missing_ok=True)


def _check_whole(video: _Writing, path: Path) -> None:
    """OpenCV keeps silent about frames that it could not write, as on a full disk. Raises OutputError."""
    written = cv2.VideoCapture(str(video.partial))
    count = written.get(cv2.CAP_PROP_FRAME_COUNT) if written.isOpened() else 0
    written.release()
    if count < video.frames:
        raise OutputError(
            f"{printable(path)}: {count:.0f} of {video.frames} frames could be written; is the disk full? "
            "Nothing was kept of it"
        )


def marked_video(path: Path) -> bool:
    """A video that says at its end that we made it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        return MARK.encode() in file.read()


def _mark(path: Path) -> bytes:
    """A box, or a chunk, that players skip."""
    text = MARK.encode().ljust(20)
    if path.suffix.lower() == ".avi":
        return b"JUNK" + len(text).to_bytes(4, "little") + text
    return (8 + len(text)).to_bytes(4, "big") + b"free" + text
