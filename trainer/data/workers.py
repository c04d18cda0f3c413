"""Processes that prepare batches beside a GPU: how many, how they begin, how they end.

They are never forked from the training process, which has threads: a fork copies the locks that those threads hold.
`forkserver` forks them from a process that has none; where there is none of that kind, each is begun anew (`spawn`).
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from cornernet.engine.machine import usable_cores

MOST = 8
"""Beyond this many, one GPU hardly waits for batches; more can be asked for."""

AHEAD = 2
"""Batches that each of them prepares ahead, and that lie in shared memory until they are used."""

_SHARED_MEMORY = Path("/dev/shm")


def automatic_workers(device: torch.device, batch_bytes: int, *, trainings: int = 1) -> int:
    """How many help: none beside a CPU, which has the same work; beside a GPU a core each, but one.

    batch_bytes: a batch of this training [bytes]; containers often have no shared memory for more than a few.
    trainings: how many processes train on this machine; they share cores and memory.
    """
    if device.type != "cuda" or multiprocessing.current_process().daemon:  # such a process may have no children
        return 0
    cores = max(1, usable_cores() // trainings - 1)
    return min(MOST, cores, _room(batch_bytes * trainings))


def _room(batch_bytes: int) -> int:
    """For how many workers shared memory has room; MOST where it is not a folder of its own."""
    if not _SHARED_MEMORY.is_dir():
        return MOST
    return max(0, shutil.disk_usage(_SHARED_MEMORY).free // max(1, batch_bytes) - 2) // AHEAD


def start_context(module: str) -> BaseContext:
    """The way in which workers begin. `module` holds what they run, and is imported once, not once a worker."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def _starting() -> Iterator[None]:
    """While workers begin: signals that a terminal or a cluster sends to all processes are not for them.

    Nor is `__main__`: what they need is in this package, and a script that trains without asking whether it is the
    main module would train again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        if hasattr(signal, "pthread_sigmask"):
            from multiprocessing import forkserver

            resource_tracker.ensure_running()  # first: it would unblock them
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                # Its children inherit what it blocks, for ever: from their first instruction on Ctrl-C passes by.
                forkserver.ensure_running()
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        else:
            yield
    finally:
        sys.modules["__main__"] = main


def begin_worker(number: int) -> None:
    """In a worker, before its first batch. It ends with its training, however that ends, and not before."""
    cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's own threads would only get in each other's way
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ignore_once)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_end_with_parent, name="cornernet-parent", daemon=True).start()


def _ignore_once(number: int, frame: FrameType | None) -> None:
    """A cluster that ends a job tells all of its processes: the training saves first. Told again, a worker goes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_with_parent() -> None:
    """torch looks at the parent's number, which is the fork server's; and that one lives as long as its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def received(loader: DataLoader) -> Iterator[Any]:
    """What `loader` gives; its workers begin with the first. Raises RuntimeError if one of them was killed."""
    if not loader.num_workers:
        yield from loader
        return
    with _starting():
        batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (OSError, EOFError) as error:  # killed between a batch and its handing over
            raise RuntimeError(f"DataLoader worker does not answer: {error}") from error
        yield batch


def end_workers(loader: DataLoader) -> None:
    """End and await the processes of `loader`, which need not wait until nothing refers to it any more."""
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()
