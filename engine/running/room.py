"""How much may be on its way at once: the bound on images and on decoded pixels that keeps memory constant."""

from __future__ import annotations

import threading

from cornernet.engine.running.channel import Closed


class Room:
    """Counts images between the source and the caller, and pixels between the decoder and the canvas.

    How large a picture is shows only when it was decoded; until then it counts as the largest so far, and the first
    ones are let in one a worker. So at most `pixels` and one picture a worker are decoded at once.
    """

    def __init__(self, *, images: int, pixels: int, workers: int) -> None:
        self._most_images, self._most_pixels, self._workers = images, pixels, workers
        self._images = self._pixels = self._largest = self._unknown = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, area: int | None) -> int:
        """Wait for room for one image of `area` pixels, None if that is not known yet: -> the pixels it counts for.

        Raises Closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(area))
            if self._closed:
                raise Closed
            self._images += 1
            self._unknown += area is None
            counted = self._largest if area is None else area
            self._pixels += counted
            return counted

    def _has_room(self, area: int | None) -> bool:
        may_guess = area is not None or self._largest > 0 or self._unknown < self._workers
        return self._images < self._most_images and self._pixels < self._most_pixels and may_guess

    def loaded(self, counted: int, area: int) -> None:
        """An image that counted for `counted` pixels has `area` of them; 0 if it could not be read."""
        with self._changed:
            self._pixels += area - counted
            self._largest = max(self._largest, area)
            self._unknown = 0 if self._largest else max(0, self._unknown - 1)
            self._changed.notify_all()

    def placed(self, area: int) -> None:
        """So many pixels lie on their canvases and are needed no more."""
        with self._changed:
            self._pixels -= area
            self._changed.notify_all()

    def leave(self, images: int) -> None:
        """The caller has the results of so many images."""
        with self._changed:
            self._images -= images
            self._changed.notify_all()

    def close(self) -> None:
        """Whoever waits, now or later, gets Closed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
