"""A queue between two threads that can be closed from either end, so that nobody waits for ever.

The same as `queue.Queue.shutdown(immediate=True)`, which Python has from 3.13 on.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Closed(Exception):
    """The channel was closed: end."""


class Channel(Generic[Item]):
    """First in, first out; `put` waits while `capacity` items lie in it."""

    def __init__(self, capacity: int | None = None) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Raises Closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._capacity is None or len(self._items) < self._capacity)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Item:
        """Raises Closed, or TimeoutError if there is nothing for `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or bool(self._items), timeout):
                raise TimeoutError
            if self._closed:
                raise Closed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> list[Item]:
        """Everybody who waits, now or later, gets Closed: -> what lay in it."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return left
