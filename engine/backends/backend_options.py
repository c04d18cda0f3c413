"""What one kind of model takes beside the options of all: a type, so that editors and checkers know it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class BackendOptions(TypedDict, total=False):
    """Arguments of the backend classes by name; they say what each means. An unknown one is a TypeError when it runs.

    ONNX Runtime: providers. OpenVINO: mode, cache. Engines: plugins to cuda. Weights: compiled.
    """

    providers: Sequence[str | tuple[str, dict[str, Any]]] | None
    mode: Literal["latency", "throughput"]
    cache: Path | str | Literal[True] | None
    plugins: str | Path | None
    workers: int
    cuda_graphs: bool
    kernel_cache: Path | None
    api: Any
    cuda: Any
    compiled: bool
