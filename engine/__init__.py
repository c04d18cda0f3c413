"""Images -> Detections. Never imports torch; heavy modules load when a name is first used.

Start with detector.py, which composes the stages: reading/, backends/, results/; scoring/ measures the outcome.
model_card.py, protocol.py, geometry.py and errors.py are what all of them share.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cornernet.engine.backends import Backend, RawDetections
    from cornernet.engine.backends.open import open_backend
    from cornernet.engine.detector import Detector
    from cornernet.engine.errors import BackendError, CornerNetError, ImageError, ModelError
    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.protocol import Protocol
    from cornernet.engine.reading.images import read_image
    from cornernet.engine.reading.video import Video
    from cornernet.engine.results.detections import Detections
    from cornernet.engine.results.device_detections import DeviceDetections

__all__ = [
    "Backend",
    "BackendError",
    "CornerNetError",
    "Detections",
    "Detector",
    "DeviceDetections",
    "ImageError",
    "ModelCard",
    "ModelError",
    "Protocol",
    "RawDetections",
    "Video",
    "open_backend",
    "read_image",
]

_HOMES = {
    "Backend": "backends",
    "BackendError": "errors",
    "CornerNetError": "errors",
    "Detections": "results.detections",
    "Detector": "detector",
    "DeviceDetections": "results.device_detections",
    "ImageError": "errors",
    "ModelCard": "model_card",
    "ModelError": "errors",
    "Protocol": "protocol",
    "RawDetections": "backends",
    "Video": "reading.video",
    "open_backend": "backends.open",
    "read_image": "reading.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
