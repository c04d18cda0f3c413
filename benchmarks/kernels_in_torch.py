"""The work of the CUDA kernels in torch operators, timed the same way: what a user without the kernels would run."""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any


def microseconds(operator: str, shape: tuple[int, ...], type: str, top_k: int) -> dict[str, float]:
    """Median time per way of doing it; empty where torch with CUDA is missing or has no such operator."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    ways = _ways(operator, shape, getattr(torch, type), top_k, "cuda")
    return {name: _time(run) for name, run in ways.items()}


def _ways(operator: str, shape: tuple[int, ...], dtype: Any, top_k: int, device: str) -> dict[str, Callable[[], Any]]:
    import torch
    from torch.nn.functional import max_pool2d, pad

    if operator in ("corner_group", "corner_soft_nms"):
        return {}
    images, _, height, width = shape
    first = torch.randn(shape, device=device, dtype=dtype)
    second = torch.randn(shape, device=device, dtype=dtype)
    lowest = float("-inf")

    def cummax() -> Any:
        vertical = first.flip(2).cummax(2).values.flip(2)
        return vertical + second.flip(3).cummax(3).values.flip(3)

    def maxpool() -> Any:
        vertical = max_pool2d(pad(first, (0, 0, 0, height - 1), value=lowest), (height, 1), 1)
        return vertical + max_pool2d(pad(second, (0, width - 1), value=lowest), (1, width), 1)

    def topk() -> Any:
        peaks = torch.where(max_pool2d(first, 3, 1, 1) == first, first, lowest)
        best = peaks.view(images, -1).topk(top_k)
        return best.values.sigmoid(), best.indices // (height * width), best.indices % (height * width)

    def gather() -> Any:
        cells = torch.arange(top_k, device=device).expand(images, -1)  # an inner row: no window is cut
        shifts = torch.arange(3, device=device)
        around = (shifts[:, None] * width + shifts).flatten()
        index = (cells[:, None] + around[:, None]).flatten(1)[:, None].expand(-1, shape[1], -1)
        return first.flatten(2).gather(2, index)

    if operator == "corner_windows":
        return {"gather": gather}
    return {"cummax": cummax, "maxpool": maxpool} if operator == "corner_pool" else {"topk": topk}


def _time(run: Callable[[], Any], *, launches: int = 10, rounds: int = 10) -> float:
    """A CUDA graph of several runs between two events, as for the kernels."""
    import torch

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(launches):
            run()
    times = []
    for _ in range(rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) * 1000 / launches)
    return statistics.median(times)
