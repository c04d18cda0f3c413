"""Work ahead in a thread: the next images are read while the model runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_SECONDS = 0.05


def prefetch(items: Iterable[Item], work: Callable[[Item], Result], ahead: int) -> Generator[Result, None, None]:
    """`map(work, items)`, in order, with at most `ahead` results waiting.

    Nothing is read before the first result is asked for. Closing the generator ends the thread; what `items` or `work`
    raises is raised here, after the results before it.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=max(1, ahead))
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if stopped.is_set() or not put("result", work(item)):
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            put("error", error)
        else:
            put("end", None)

    reader = threading.Thread(target=run, name="cornernet-prefetch", daemon=True)
    reader.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        # A source that blocks for ever, say a camera, must not block us: the thread is a daemon and ends at its next
        # item.
        reader.join(timeout=2.0)
