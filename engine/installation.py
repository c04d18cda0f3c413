"""Which of the packages that exclude each other are installed, and the command that mends a bad mixture."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from cornernet.engine.errors import BackendError

EXTRA_OF_PACKAGE = {
    "torch": "train",
    "onnxscript": "train",
    "safetensors": "train",
    "onnx": "inspect",
    "matplotlib": "charts",
    "jinja2": "report",
    "pycocotools": "evaluate",
    "yaml": "evaluate",
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "tensorrt": "gpu",
    "cuda": "gpu",
    "tensorrt_rtx": "rtx",
    "pycuda": "pycuda",
    "nvtx": "profile",
    "faster_coco_eval": "fast",
    "supervision": "viz",
    "av": "video",
    "timm": "backbones",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "ray": "cluster",
    "pyarrow": "cluster",
    "tritonclient": "triton",
}
"""Import name -> the smallest extra of pyproject.toml that brings it."""

ONNX_RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-silicon",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
    "ort-nightly-directml",
)
"""Distributions that write the package `onnxruntime`. One under any other name, or built from source, runs as well."""

OPENCVS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


def install(extra: str = "") -> str:
    """The command that installs this project with an extra. It is in no registry: pip takes the checkout."""
    return f"pip install '.{f'[{extra}]' if extra else ''}' in the checkout"


def missing(package: str, purpose: str) -> BackendError:
    """The error for an optional package that is not there."""
    return BackendError(
        f"{purpose} needs the package '{package}', which is not installed: {install(EXTRA_OF_PACKAGE[package])}"
    )


def require(package: str, purpose: str) -> None:
    """Raises BackendError, with the command that mends it, if `package` is not installed."""
    if find_spec(package) is None:
        raise missing(package, purpose)


@dataclass(frozen=True)
class Problem:
    """Something wrong with the installation. `command` mends it."""

    what: str
    command: str

    def __str__(self) -> str:
        return f"{self.what} Mend it with: {self.command}"


ONNX_RUNTIME = f"{install('cpu')} (with an NVIDIA GPU: {install('gpu')})"


def installed(distributions: tuple[str, ...]) -> dict[str, str]:
    """Those of `distributions` that are installed, with their versions."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def has_onnxruntime() -> bool:
    """True if any ONNX Runtime is there, working or not."""
    return bool(installed(ONNX_RUNTIMES)) or find_spec("onnxruntime") is not None


def onnxruntime_problem() -> Problem | None:
    """No ONNX Runtime, or two wheels of it: they write the same package and break each other."""
    found = installed(ONNX_RUNTIMES)
    if not has_onnxruntime():
        return Problem("ONNX Runtime is not installed.", ONNX_RUNTIME)
    if len(found) > 1:
        return Problem(
            f"{_listed(found)} overwrite each other.",
            f"pip uninstall -y {' '.join(found)} && {install('gpu')} (no GPU: {install('cpu')})",
        )
    return None


def opencv_problem() -> Problem | None:
    """More than one OpenCV wheel: they write the same package `cv2`."""
    found = installed(OPENCVS)
    if len(found) < 2:
        return None
    return Problem(
        f"{_listed(found)} overwrite each other.",
        f"pip uninstall -y {' '.join(found)} && pip install opencv-python-headless",
    )


def _listed(found: dict[str, str]) -> str:
    names = " and ".join(f"{name} {number}" for name, number in found.items())
    return f"{names} are {'both' if len(found) == 2 else 'all'} installed and"


def problems() -> list[Problem]:
    """All that is wrong with the mixture of packages."""
    return [problem for problem in (onnxruntime_problem(), opencv_problem()) if problem is not None]
