"""How many threads read images, so that the cores are shared with a runtime that computes on them."""

from __future__ import annotations

from cornernet.engine.arguments import integer
from cornernet.engine.backends import Backend
from cornernet.engine.backends.contract import computes_on_cpu
from cornernet.engine.machine import usable_cores

MOST_CORES = 1024
MOST = 16
"""Beyond this many readers Python's lock, not the decoder, is the limit."""


def workers_for(backend: Backend, threads: int | None) -> int:
    """Threads that read, place and finish. `threads`: cores to use; None: all. Raises TypeError, ValueError.

    An accelerator leaves them all to us. A runtime on the CPU computes with as many threads as there are cores; one
    reader beside it is enough, since decoding costs less than the network, and two would only take turns with it.
    """
    cores = usable_cores() if threads is None else integer("threads", threads, least=1, most=MOST_CORES)
    return min(MOST, max(1, cores // 4) if computes_on_cpu(backend) else cores)
