"""What a Detector was given as its model, as an open backend."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from cornernet.engine.arguments import shown
from cornernet.engine.backends import Backend


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
