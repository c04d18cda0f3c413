"""Videos, cameras and network streams as pictures that come one after the other; nothing is read ahead of time.

A file is read frame by frame. A live source goes on whether we look or not: what is wanted of it is its newest frame.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import cv2
import numpy as np

from cornernet.engine.arguments import choice
from cornernet.engine.installation import require
from cornernet.engine.printable import printable

SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"})
"""Files that are videos."""

_STREAM = re.compile(r"(?i)(rtsps?|rtmps?|udp|rtp|srt)://")

TRIES = 5
"""How often a stream that broke is opened again before it counts as ended."""

READERS = ("opencv", "pyav")
"""What can read them."""

PAUSE_SECONDS = 1.0
"""Before the first of these tries; twice as long before each that follows."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video: pixels (H, W, 3) uint8 BGR, or the reason why there are no more. number: from 0."""

    path: str
    number: int
    pixels: np.ndarray | None = None
    error: str | None = None


def is_video(source: Any) -> TypeGuard[str | os.PathLike[str]]:
    """The name of a video file or the address of a stream."""
    if isinstance(source, str) and _STREAM.match(source):
        return True
    return isinstance(source, str | os.PathLike) and Path(os.fsdecode(source)).suffix.lower() in SUFFIXES


class Video:
    """Frames of a file, a camera (its number, 0 is the first) or an address such as rtsp://...; iterate over it.

    every: one frame of so many, for a file.
    newest: a thread reads on, and each step gives the newest frame there is; None: for cameras and streams.
    reader: "opencv", or "pyav" (extra `video`), which knows more formats and codecs. A camera is read by OpenCV.
    tries, pause_seconds: of a live source that breaks.

    Raises ValueError, and BackendError if PyAV is not installed. Nothing raises while iterating: a source that cannot
    be opened or breaks ends with a Frame that has an `error`.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | int,
        *,
        every: int = 1,
        newest: bool | None = None,
        reader: str = "opencv",
        tries: int = TRIES,
        pause_seconds: float = PAUSE_SECONDS,
        open_capture: Callable[[Any], Any] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every={every}; expected at least 1")
        self.path = f"camera {source}" if isinstance(source, int) else os.fspath(source)
        self.live = isinstance(source, int) or _STREAM.match(self.path) is not None
        self._source = source if isinstance(source, int) else self.path
        self._every, self._newest = every, self.live if newest is None else newest
        choice("reader", reader, READERS)
        by_pyav = reader == "pyav" and not isinstance(source, int)
        self._tries, self._pause = tries, pause_seconds
        self._open_capture = open_capture or (_pyav() if by_pyav else cv2.VideoCapture)

    @property
    def rate(self) -> float:
        """Frames a second that iterating gives, as the file says; 25 where it says nothing sensible."""
        capture = self._opened()
        rate = capture.get(cv2.CAP_PROP_FPS) if capture is not None else 0.0
        if capture is not None:
            capture.release()
        return (rate if 0 < rate < 1000 else 25.0) / self._every

    def __iter__(self) -> Iterator[Frame]:
        frames = self._live_frames(threading.Event()) if self.live else self._frames()
        return self._newest_of() if self._newest else frames

    def _opened(self) -> Any:
        """A capture, or None."""
        try:
            capture = self._open_capture(self._source)
            if capture.isOpened():
                return capture
            capture.release()
        except Exception:  # a name that OpenCV cannot take, a backend that raises
            return None
        return None

    def _frames(self) -> Iterator[Frame]:
        name = printable(self.path)
        if not Path(os.fsdecode(self.path)).is_file():
            yield Frame(self.path, 0, error=f"{name}: no such file")
            return
        capture = self._opened()
        if capture is None:
            yield Frame(self.path, 0, error=f"{name}: not a video that can be read")
            return
        number = 0
        try:
            expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            while True:
                if number % self._every:
                    if not capture.grab():  # not decoded into pixels
                        break
                else:
                    read, pixels = capture.read()
                    if not read:
                        break
                    yield Frame(self.path, number, pixels)
                number += 1
        finally:
            capture.release()
        # What containers say of their length is an estimate.
        if number == 0 or number < 0.9 * expected - 2:
            of = f" of {expected:.0f}" if expected > 0 else ""
            yield Frame(self.path, number, error=f"{name}: ends after {number}{of} frames; truncated or damaged")

    def _live_frames(self, stop: threading.Event) -> Iterator[Frame]:
        """All frames; opened again when it breaks."""
        number, failed = 0, 0
        capture = None
        try:
            while not stop.is_set():
                capture = capture or self._opened()
                read, pixels = capture.read() if capture is not None else (False, None)
                if read:
                    failed = 0
                    if number % self._every == 0:
                        yield Frame(self.path, number, pixels)
                    number += 1
                    continue
                if capture is not None:
                    capture.release()
                    capture = None
                if failed == self._tries or (number == 0 and isinstance(self._source, int)):
                    break
                stop.wait(self._pause * 2**failed)
                failed += 1
            else:
                return
        finally:
            if capture is not None:
                capture.release()
        name = printable(self.path)
        what = f"broke after {number} frames" if number else "gives no picture"
        again = f"; opened again {failed} times without success" if failed else ""
        yield Frame(self.path, number, error=f"{name}: {what}{again}")

    def _newest_of(self) -> Iterator[Frame]:
        """The newest frame at each step; those in between are left out."""
        changed, stop = threading.Condition(), threading.Event()
        newest: list[Frame] = []
        ended: list[bool] = []

        def read() -> None:
            frames = self._live_frames(stop) if self.live else self._frames()
            try:
                for frame in frames:
                    with changed:
                        # The last picture is not lost to the sentence that follows it.
                        newest[:] = [*newest[-1:], frame] if frame.error is not None else [frame]
                        changed.notify()
                    if stop.is_set():
                        break
            finally:
                with changed:
                    ended.append(True)
                    changed.notify()

        thread = threading.Thread(target=read, name="cornernet-camera", daemon=True)
        thread.start()
        try:
            while True:
                with changed:
                    changed.wait_for(lambda: newest or ended)
                    if not newest:
                        return
                    frame = newest.pop(0)
                yield frame
        finally:
            stop.set()
            thread.join(1.0)  # what blocks in the driver cannot be woken


def _pyav() -> Callable[[Any], Any]:
    require("av", "reading a video with PyAV")
    from cornernet.engine.reading.pyav_capture import PyavCapture

    return PyavCapture
