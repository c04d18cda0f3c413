"""Recorded runs by the shape of their input: which shapes get one, how many are kept."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

log = logging.getLogger("cornernet.torch")

Recording = TypeVar("Recording")
Shape = TypeVar("Shape", bound=Hashable)
"""Whatever tells batches apart that cannot share a recording."""

ROOM = 8
"""Graphs kept. Each holds its own results; what they compute in, they share."""

REMEMBERED = 256
"""Shapes whose uses are counted; of more, the ones used longest ago are forgotten."""


class ShapeGraphs(Generic[Shape, Recording]):
    """A shape is recorded when it comes for the second time: pictures in their own sizes may never come again.

    record: makes the recording of a shape, or raises RuntimeError if it cannot be: then that shape runs without. A new
    shape takes the place of the one used longest ago only after as many uses as there is room, so that shapes that
    take turns do not record one another away. Not thread-safe.
    """

    def __init__(self, record: Callable[[Shape], Recording], room: int = ROOM) -> None:
        self._record, self._room = record, room
        self._kept: OrderedDict[Shape, Recording] = OrderedDict()
        self._uses: OrderedDict[Shape, int] = OrderedDict()
        self._impossible: set[Shape] = set()

    def get(self, shape: Shape) -> Recording | None:
        """The recording to replay, or None: run it plainly."""
        if shape in self._kept:
            self._kept.move_to_end(shape)
            return self._kept[shape]
        uses = self._uses[shape] = self._uses.pop(shape, 0) + 1
        if len(self._uses) > REMEMBERED:
            self._uses.popitem(last=False)
        full = len(self._kept) >= self._room
        if not self._room or shape in self._impossible or uses < (2 + self._room if full else 2):
            return None
        if full:
            self._kept.popitem(last=False)
        try:
            recording = self._record(shape)
        except RuntimeError as error:
            self._impossible.add(shape)
            log.warning("no CUDA graph for canvases %s, running without: %s", shape, error)
            return None
        del self._uses[shape]
        self._kept[shape] = recording
        return recording

    def clear(self) -> None:
        self._kept.clear()
