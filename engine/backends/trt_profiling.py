"""What TensorRT's own profiler says about each layer."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any


def layer_times(trt: Any, context: Any, execute: Callable[[], None], runs: int) -> dict[str, float]:
    """Median milliseconds per layer in the order they ran. execute: runs one batch on `context` and waits for it.

    The profiler stays with the context, which is therefore of no use for anything else.
    """
    times: defaultdict[str, list[float]] = defaultdict(list)

    class Collector(trt.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            times[layer_name].append(ms)

    execute()  # the first run sets up what no later one does
    collector = Collector()
    context.profiler = collector
    for _ in range(runs):
        execute()
    return {name: statistics.median(values) for name, values in times.items()}
