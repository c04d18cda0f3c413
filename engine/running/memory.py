"""Memory for batches that the backend reads without another copy, lent again and again.

Fresh memory costs a page fault for each of its pages, page-locked memory far more; a run needs few pieces.
"""

from __future__ import annotations

import threading

import numpy as np

from cornernet.engine.backends import Backend
from cornernet.engine.backends.contract import allocate

KEPT = 4
"""Pieces kept when nobody uses them."""

ROUNDING = 2**20
"""[bytes] Canvases of nearly the same size share memory."""


class Memory:
    """Thread-safe. Pieces that are given back are kept for the next batch, by the next run too."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._free: list[np.ndarray] = []
        self._lock = threading.Lock()

    def borrow(self, size: int) -> np.ndarray:
        """(at least `size`,) uint8, its content arbitrary."""
        with self._lock:
            fitting = [piece for piece in self._free if piece.size >= size]
            if fitting:
                chosen = min(fitting, key=lambda piece: piece.size)
                self._free = [piece for piece in self._free if piece is not chosen]
                return chosen
        return allocate(self._backend, -(-size // ROUNDING) * ROUNDING)

    def give_back(self, piece: np.ndarray) -> None:
        with self._lock:
            self._free.append(piece)
            if len(self._free) > KEPT:  # the smallest goes: the others serve in its place
                self._free.sort(key=lambda piece: piece.size, reverse=True)
                self._free.pop()

    def clear(self) -> None:
        """Give all free pieces back to the backend's allocator."""
        with self._lock:
            self._free.clear()
