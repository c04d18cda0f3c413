"""Named ranges on the time line of Nsight Systems, if the package `nvtx` is installed; nothing otherwise."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

DOMAIN = "cornernet"


@cache
def _nvtx() -> Any:
    try:
        return importlib.import_module("nvtx")
    except ImportError:
        return None


def marked(name: str) -> AbstractContextManager[Any]:
    """The enclosed calls as one range of this name. Costs less than a microsecond while no profiler listens."""
    nvtx = _nvtx()
    return nullcontext() if nvtx is None else nvtx.annotate(name, domain=DOMAIN)
