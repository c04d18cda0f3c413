"""Images -> Detections. Never imports torch; heavy modules load when a name is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Backend": "cornernet.engine.backends",
    "BackendError": "cornernet.engine.errors",
    "CornerNetError": "cornernet.engine.errors",
    "Detections": "cornernet.engine.results.detections",
    "Detector": "cornernet.engine.detector",
    "ImageError": "cornernet.engine.errors",
    "ModelCard": "cornernet.engine.model_card",
    "ModelError": "cornernet.engine.errors",
    "Protocol": "cornernet.engine.protocol",
    "RawDetections": "cornernet.engine.backends",
    "open_backend": "cornernet.engine.backends.open",
    "read_image": "cornernet.engine.reading.images",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
