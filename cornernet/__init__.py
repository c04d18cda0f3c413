"""CornerNet as an inference engine.

    from cornernet import Detector

    with Detector("model.onnx") as detector:
        for found in detector.predict("photos/"):
            print(found.path, found.names, found.boxes)

Importing this package loads neither torch nor OpenCV: a name brings its module when it is first used.
Start with cli.py for the command line; for everything else with engine/detector.py.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cornernet.engine.detector import Detector
    from cornernet.engine.errors import BackendError, CornerNetError, ImageError, ModelError
    from cornernet.engine.model_card import ModelCard
    from cornernet.engine.protocol import Protocol
    from cornernet.engine.reading.images import read_image
    from cornernet.engine.reading.video import Video
    from cornernet.engine.results.detections import Detections
    from cornernet.engine.results.device_detections import DeviceDetections

    __version__: str

__all__ = [
    "BackendError",
    "CornerNetError",
    "Detections",
    "Detector",
    "DeviceDetections",
    "ImageError",
    "ModelCard",
    "ModelError",
    "Protocol",
    "Video",
    "read_image",
]

_FOLDERS = ("benchmarks", "engine", "export", "plugins", "trainer")


def _require_links() -> None:
    """cornernet/engine and its sisters are symbolic links in a checkout; git can be told not to make any."""
    here = Path(__file__).parent
    broken = [name for name in _FOLDERS if not (here / name).is_dir()]
    if broken:
        raise ImportError(
            f"{here / broken[0]} is no folder: its checkout was made without symbolic links. Make it again with "
            "`git clone -c core.symlinks=true` (on Windows in developer mode), or install a wheel: "
            "python -m pip install cornernet-*.whl"
        )


_require_links()


def _open_weights(path: Path, **options: Any) -> Any:
    """Weights run in torch, which the engine does not import and only a model of this kind loads."""
    from cornernet.trainer.deploy.open_model import open_weights

    return open_weights(path, **options)


def _enter_openers() -> None:
    from cornernet.engine.openers import OPENERS

    OPENERS[".safetensors"] = _open_weights


_enter_openers()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cornernet")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cornernet.engine"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
