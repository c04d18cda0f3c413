"""OpenCV without its own threads, for as long as ours call it.

Inside the workers of a pipeline OpenCV's pool only gets in the way: its threads wait by spinning, on cores that decode
the next picture. The number of its threads belongs to the whole process, so it is
changed only while one of our calls runs, and put back when the last of them returns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def opencv_alone() -> Iterator[None]:
    """OpenCV works in the calling thread alone. May be entered by several threads at once."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = cv2.getNumThreads()
            if _before != 1:
                cv2.setNumThreads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            # Whoever set another number meanwhile meant it.
            if _users == 0 and _before != 1 and cv2.getNumThreads() == 1:
                cv2.setNumThreads(_before)
