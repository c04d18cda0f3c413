"""Cases run in processes of their own: a crash, a hang or too much memory costs one case, and is what we look for."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from attack.families import case_of, find_family

MOST_SECONDS, MOST_MEGABYTES = 2.0, 600
"""Of CPU time and of memory that one file of at most 1 MB may take."""
HANGS_AFTER = 60.0
"""Seconds on the clock; CPU time is what is judged, this only ends what never ends."""
_ADDRESS_SPACE = 2**34
"""What a process may ask for beyond its start, so that an attack that succeeds does not take the machine with it."""
_LARGEST_PROCESS_MB = 1500


@dataclass(frozen=True)
class Outcome:
    """What came of a case. finding: None, or the promise that was broken; details: a traceback, or a number."""

    family: str
    number: int
    kind: str = ""
    answer: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    finding: str | None = None
    details: str = ""


def run_cases(
    seed: int, cases: list[tuple[str, int]], lanes: int, kept: Path, patience: float = HANGS_AFTER
) -> Iterator[Outcome]:
    """The outcome of each (family, number), in any order. Files behind a finding are copied to `kept`."""
    with ThreadPoolExecutor(lanes) as pool:
        for outcomes in pool.map(lambda part: _run_lane(seed, part, kept, patience), _parts(cases, lanes)):
            yield from outcomes


def _parts(cases: list[tuple[str, int]], lanes: int) -> list[list[tuple[str, int]]]:
    """Pieces small enough to share work evenly, of one family each, so that a child loads what it needs once."""
    ordered = sorted(cases)
    size = max(1, -(-len(ordered) // (4 * lanes)))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _run_lane(seed: int, cases: list[tuple[str, int]], kept: Path, patience: float) -> list[Outcome]:
    outcomes = []
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(_Child(seed, patience))
        for family, number in cases:
            found = child.run(family, number)
            # Time and memory are measured beside other work: only what happens again, in a fresh process, counts.
            for _ in range(2):
                if found.finding not in ("too slow", "too much memory"):
                    break
                child.restart()
                again = child.run(family, number)
                found = min(found, again, key=lambda outcome: outcome.finding is not None)
            if found.finding is not None:
                child.keep(kept / f"{family}-{number}")
                child.restart()
            outcomes.append(found)
    return outcomes


class _Child:
    """A process that drives cases one after the other, and the folder that it works in."""

    def __init__(self, seed: int, patience: float) -> None:
        self._seed, self._patience = seed, patience
        self._folder = Path(tempfile.mkdtemp(prefix="attack-"))
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, self._seed, str(self._folder)), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self) -> None:
        self._here.close()
        self._process.kill()
        self._process.join()

    def restart(self) -> None:
        self._stop()
        self._start()

    def run(self, family: str, number: int) -> Outcome:
        try:
            self._here.send((family, number))
            if not self._here.poll(self._patience):
                return Outcome(family, number, finding="hang", details=f"no answer after {self._patience:.0f} s")
            found = Outcome(**self._here.recv())
        except (EOFError, OSError):
            self._process.join()
            return Outcome(family, number, finding="crash", details=f"exit code {self._process.exitcode}")
        if found.finding is None and found.megabytes > _LARGEST_PROCESS_MB:
            self.restart()
        return found

    def keep(self, place: Path) -> None:
        """Copy the files of the last case."""
        shutil.copytree(self._folder, place, dirs_exist_ok=True, ignore_dangling_symlinks=True)


def _serve(pipe: Connection, seed: int, folder: str) -> None:
    """The child's loop: a case in, an outcome out, until the other end closes."""
    import cv2

    cv2.setNumThreads(1)
    with Path(os.devnull).open("w") as silence:  # libraries complain there about what they are given
        os.dup2(silence.fileno(), sys.stderr.fileno())
    faulthandler.enable()
    limited = False
    while True:
        try:
            family, number = pipe.recv()
        except EOFError:
            return
        if not limited:
            find_family(family)
            limit = _memory("VmSize") * 2**20 + _ADDRESS_SPACE
            resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
            limited = True
        pipe.send(asdict(_judge(seed, family, number, Path(folder))))


def _judge(seed: int, family: str, number: int, folder: Path) -> Outcome:
    from cornernet.engine.errors import CornerNetError

    os.chdir(folder)
    try:
        case = case_of(seed, family, number, folder)
    except Exception as error:
        return Outcome(family, number, finding="the attack itself failed", details=_trace(error))
    found = Outcome(family, number, case.kind)
    _forget_peak()
    memory, start = _memory("VmRSS"), time.process_time()
    try:
        found = replace(found, answer=case.drive())
    except CornerNetError as error:
        found = replace(found, answer="refused")
        if not str(error) or len(str(error)) > 5000:
            found = replace(found, finding="useless message", details=repr(error)[:2000])
    except AssertionError as error:
        found = replace(found, finding="broken promise", details=_trace(error))
    except BaseException as error:  # the findings
        found = replace(found, finding="raw exception", details=_trace(error))
    seconds, megabytes = time.process_time() - start, _memory("VmHWM") - memory
    found = replace(found, seconds=seconds, megabytes=megabytes)
    if found.finding is None and seconds > (case.most_seconds or MOST_SECONDS):
        found = replace(found, finding="too slow", details=f"{seconds:.1f} s of CPU time")
    if found.finding is None and megabytes > MOST_MEGABYTES:
        found = replace(found, finding="too much memory", details=f"{megabytes:.0f} MB")
    return found


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode()[-4000:]


def _memory(name: str) -> float:
    """A line of /proc/self/status [MB]; elsewhere the largest resident size so far."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return _largest()


def _largest() -> float:
    used: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1024 if sys.platform != "darwin" else used / 2**20


def _forget_peak() -> None:
    """Let the kernel measure the largest resident size anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
