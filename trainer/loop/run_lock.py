"""One training per run directory: a lock file that says which process is in it, and on which machine."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cornernet.engine.errors import TrainingError
from cornernet.engine.printable import printable
from cornernet.trainer.network.checkpoint import cannot_write

_log = logging.getLogger(__name__)

NAME = "run.lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the run directory, which is made if it is not there; a lock whose process is gone is taken over.

    Raises TrainingError if another training is in it, or if it cannot be written.
    """
    made = not directory.exists()
    lock = directory / NAME
    own = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid()),
                      "since": time.strftime("%Y-%m-%d %H:%M:%S")})  # fmt: skip
    # Linked into place: nobody ever reads a lock of which only a part is written, and of two only one gets the name.
    mine = directory / f".{NAME}.{os.getpid()}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        mine.write_text(own, encoding="utf-8")
        while not _linked(mine, lock):
            _remove_stale(lock)
    except OSError as error:
        raise cannot_write(lock, error) from error
    finally:
        with suppress(OSError):
            mine.unlink(missing_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            if lock.read_text(encoding="utf-8") == own:
                lock.unlink()
            if made:
                directory.rmdir()  # fails, rightly, if anything is in it


def _linked(mine: Path, lock: Path) -> bool:
    try:
        lock.hardlink_to(mine)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(mine.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _remove_stale(lock: Path) -> None:
    """Take away a lock whose process is dead. Raises TrainingError if it may be alive, OSError."""
    try:
        text = lock.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    owner = _read(text)
    here = owner.get("host") == socket.gethostname()
    if not (here and _is_dead(owner)):
        who = f"process {owner.get('pid', '(unknown)')} on {printable(str(owner.get('host', 'an unknown machine')))}"
        raise TrainingError(
            f"{printable(lock.parent)} is in use: {who} trains there since {printable(str(owner.get('since', '?')))}. "
            "Wait for it, stop it, or choose another directory. "
            f"If that process is gone, delete {printable(lock)}."
        )
    # Renamed first: of two that found the same stale lock, the slower one must not take the new lock of the faster.
    aside = lock.with_name(f".{NAME}.{os.getpid()}.stale")
    with suppress(FileNotFoundError):
        lock.rename(aside)
        if aside.read_text(encoding="utf-8", errors="replace") != text:
            _linked(aside, lock)
        else:
            _log.warning("%s: process %s ended without leaving it; taken over", printable(lock), owner["pid"])
        aside.unlink()


def _read(text: str) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        owner = json.loads(text)
        if isinstance(owner, dict):
            return owner
    return {}


def _is_dead(owner: dict[str, Any]) -> bool:
    """No such process on this machine, or another one that was given its number. False where nobody can tell."""
    pid = owner.get("pid")
    if type(pid) is not int or pid < 1 or os.name != "posix":  # elsewhere, signal 0 would end the process
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    started = _started(pid)
    return started is not None and owner.get("started") is not None and started != owner["started"]


def _started(pid: int) -> int | None:
    """When a process started [clock ticks since boot], which tells it from a later one of its number. Linux only."""
    try:
        # The name, in brackets, may hold anything; field 22 is the 20th behind it.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
