"""What one kind of model takes beside the options of all: a type, so that editors and checkers know it; opening one."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict

from cornernet.engine.arguments import shown
from cornernet.engine.backends import Backend


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


def open_given(model: str | PathLike[str] | Backend, threads: int | None, options: dict[str, Any]) -> Backend:
    """A path opened, or a Backend that is open already and takes no options. Raises as `open_backend`; TypeError."""
    if isinstance(model, str | PathLike):
        from cornernet.engine.backends.open import open_backend

        return open_backend(Path(model), threads=threads, **options)
    if not all(hasattr(model, part) for part in ("card", "run", "close")):
        raise TypeError(f"model={shown(model)}; expected a path of an ONNX file or an engine, or an open Backend")
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TypeError(f"{', '.join(given)}: expected no options of a backend, which is already open here")
    return model
