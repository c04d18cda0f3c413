"""Memory that goes back to the system while a large model is opened, not only after.

Packing a weight leaves behind what it was packed from. ONNX Runtime makes three copies of each and frees them; on
glibc's heap they leave holes that the next, aligned block does not fit: 0.12 GB beside the 0.78 GB of hourglass-104's
weights. OpenVINO reads the weights from the mapped file, whose pages then stay beside the packed ones: 0.78 GB more.
Neither is of use to anybody, but the peak of memory counts both.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

LARGE = 1 << 26
"""Bytes of a file, from which on a thread is worth it."""

_PERIOD = 0.02
"""Seconds. A weight of 9 MB is packed in about as long."""


@contextmanager
def given_back(size: int, files: Sequence[mmap.mmap] = ()) -> Iterator[None]:
    """Within it, and once at its end, free pages of the heap and the pages of `files` go back to the system.

    size: of what is opened [bytes]; while less than LARGE is, that happens at the end alone. files: private maps that
    nobody writes to; who reads a page that went gets it from the file again.
    """
    ended = threading.Event()

    def give_back() -> None:
        _trim()(0)
        if hasattr(mmap, "MADV_DONTNEED"):
            for file in files:
                file.madvise(mmap.MADV_DONTNEED)

    def go_on() -> None:
        while not ended.wait(_PERIOD):
            give_back()

    thread = threading.Thread(target=go_on, name="giving memory back", daemon=True)
    if size >= LARGE:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()
        give_back()


@functools.cache
def _trim() -> Callable[[int], object]:
    """glibc's malloc_trim; elsewhere nothing."""
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows has no confstr, musl not this name
        glibc = False
    return ctypes.CDLL(None).malloc_trim if glibc else lambda kept: None
