"""A window that shows what is found as it is found."""

from __future__ import annotations

import cv2

from cornernet.engine.errors import OutputError
from cornernet.engine.results.detections import Detections

TITLE = "cornernet - q ends"


class Window:
    """Raises OutputError where OpenCV has no windows or there is no display; KeyboardInterrupt once q is pressed."""

    def __init__(self) -> None:
        try:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise OutputError(
                "--show: this OpenCV has no windows, or there is no display. With a display: "
                "pip uninstall -y opencv-python-headless && pip install opencv-python"
            ) from error

    def write(self, found: Detections) -> None:
        if found.error is None:
            cv2.imshow(TITLE, found.draw())
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
                raise KeyboardInterrupt

    def close(self) -> None:
        cv2.destroyWindow(TITLE)
