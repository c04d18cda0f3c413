"""CornerNet as an inference engine.

    from cornernet import Detector

    with Detector("model.onnx") as detector:
        for found in detector.predict("photos/"):
            print(found.path, found.names, found.boxes)

Importing this package loads neither torch nor OpenCV: a name brings its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cornernet.engine.detector import Detector
    from cornernet.engine.errors import BackendError, CornerNetError, ImageError, ModelError
    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.protocol import Protocol
    from cornernet.engine.reading.images import read_image
    from cornernet.engine.results.detections import Detections

__all__ = [
    "BackendError",
    "CornerNetError",
    "Detections",
    "Detector",
    "ImageError",
    "ModelCard",
    "ModelError",
    "Protocol",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cornernet.engine"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
