"""PyAV as a reader of videos, with the methods of OpenCV's own that are used here (extra `video`)."""

from __future__ import annotations

import os
from collections.abc import Generator

import av
import cv2
import numpy as np

OPEN_SECONDS, READ_SECONDS = 30.0, 30.0
"""A stream that does not answer for so long is broken; for OpenCV too."""

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180, -90: cv2.ROTATE_90_CLOCKWISE}


class PyavCapture:
    """A file or an address. Frames come turned as the file says, packets that are damaged are left out: as in OpenCV.

    Raises av.FFmpegError where it cannot be opened.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        self._container = av.open(os.fspath(source), timeout=(OPEN_SECONDS, READ_SECONDS))
        try:
            self._stream = self._container.streams.video[0]
        except IndexError:
            self._container.close()
            raise av.InvalidDataError(0, "no video in it") from None
        self._stream.thread_type = "AUTO"
        self._frames = self._decoded()

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if what == cv2.CAP_PROP_FPS:
            return rate
        assert what == cv2.CAP_PROP_FRAME_COUNT
        seconds = (self._container.duration or 0) / av.time_base
        return self._stream.frames or round(seconds * rate)

    def grab(self) -> bool:
        """The next frame, decoded but not turned into pixels."""
        return next(self._frames, None) is not None

    def read(self) -> tuple[bool, np.ndarray | None]:
        frame = next(self._frames, None)
        if frame is None:
            return False, None
        pixels = frame.to_ndarray(format="bgr24")
        turn = _TURNS.get(round(frame.rotation))
        return True, pixels if turn is None else cv2.rotate(pixels, turn)

    def release(self) -> None:
        self._frames.close()
        self._container.close()

    def _decoded(self) -> Generator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except av.InvalidDataError:
                continue
            except (av.FFmpegError, OSError):  # a stream that breaks
                return
