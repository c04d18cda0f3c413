"""How many threads read images."""

from __future__ import annotations

from cornernet.engine.arguments import integer
from cornernet.engine.machine import usable_cores

MOST_CORES = 1024
MOST = 16
"""Beyond this many readers Python's lock, not the decoder, is the limit."""


def workers_for(threads: int | None) -> int:
    """Threads that read, place and finish. `threads`: cores to use; None: all. Raises TypeError, ValueError.

    As many beside a runtime on the CPU as beside an accelerator: what they read together while it computes costs it
    less than the cores would idle while one of them reads alone.
    """
    cores = usable_cores() if threads is None else integer("threads", threads, least=1, most=MOST_CORES)
    return min(MOST, cores)
