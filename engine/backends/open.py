"""Which runtime runs which file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, get_args

from cornernet.engine.arguments import as_path, choice, is_file, shown, shown_path
from cornernet.engine.backends import Backend
from cornernet.engine.backends.backend_options import BackendOptions
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.installation import has_onnxruntime, onnxruntime_problem
from cornernet.engine.openers import OPENERS

if TYPE_CHECKING:
    from cornernet.engine.backends.fastest import Candidate, Measurement, OnnxBackend

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")

Runtime = Literal["auto", "onnxruntime", "openvino"]
Precision = Literal["fp32", "fp16", "bf16", "auto"]


def open_backend(
    path: str | Path,
    *,
    runtime: Runtime | None = None,
    precision: Precision | None = None,
    device: str | None = None,
    threads: int | None = None,
    **backend_options: Unpack[BackendOptions],
) -> Backend:
    """Load a model file: `.onnx` with ONNX Runtime or OpenVINO, `.engine` or `.plan` with TensorRT, `.safetensors` with
    PyTorch.

    Args:
        runtime: of a .onnx file. "auto": the fastest here, measured when a file is first opened and remembered; several
            runtimes hold it meanwhile. None: OpenVINO where bf16 is asked for or it is the only one, else ONNX
            Runtime: the same every time, without measuring.
        precision: "fp32": as the file says. "bf16": in OpenVINO, on a CPU that computes in it. "auto": both, whichever
            runtime and precision are fastest. None: "fp32", so that boxes are the same everywhere. Of weights: "fp32",
            "fp16" or "bf16", see `open_weights`.
        device: "cpu", "cuda" or "cuda:1" for the second GPU; None: the runtime's own choice.
        threads: cores of a runtime that computes on the CPU; None: all of them.
        backend_options: see `OnnxRuntimeBackend`, `OpenVinoBackend`, `TensorRTBackend` and `open_weights`; none with
            "auto".

    Raises:
        ModelError: no such file, a file of another kind, or one that the runtime refuses.
        BackendError: the runtime is missing or broken, or cannot compute in this precision.
    """
    options: dict[str, Any] = {**backend_options}
    path = as_path("path", path)
    choice("runtime", runtime, (None, *get_args(Runtime)))
    choice("precision", precision, (None, *get_args(Precision)))
    suffix = path.suffix.lower()
    if beside := weights_beside(path):
        raise ModelError(beside)
    if suffix not in (".onnx", *ENGINE_SUFFIXES, *OPENERS):
        raise ModelError(
            f"{shown_path(path)}: cannot tell what this is; expected a .onnx file or a TensorRT .engine or .plan file"
        )
    if not is_file(path):
        raise ModelError(f"{shown_path(path)}: no such file")
    if suffix in OPENERS:
        if runtime not in (None, "auto"):
            raise ModelError(
                f"{path}: a checkpoint runs in PyTorch; runtime={runtime!r} needs a .onnx file; "
                f"run `cornernet export {path} -o model.onnx` first"
            )
        wanted = None if precision == "auto" else precision
        backend: Backend = OPENERS[suffix](path, precision=wanted, device=device, threads=threads, **options)
        return backend
    if precision == "fp16":
        raise ModelError(f"{path}: its precision was decided when it was made: export or build again with fp16")
    kind, number = _device(device)
    if suffix == ".onnx":
        if kind == "cuda":
            if runtime == "openvino":
                raise ModelError(f"{path}: OpenVINO runs on the CPU here; device={device!r} is for the other runtimes")
            runtime = "onnxruntime"
            options = {"providers": [("CUDAExecutionProvider", {"device_id": number})], **options}
        elif kind == "cpu" and runtime in (None, "onnxruntime") and precision != "auto":
            options = {"providers": ["CPUExecutionProvider"], **options}
        return _open_onnx(path, runtime, precision, options if threads is None else {"threads": threads, **options})
    if runtime not in (None, "auto") or precision not in (None, "auto"):
        raise ModelError(
            f"{path}: a TensorRT engine runs in TensorRT, in the precision it was built with; runtime={runtime!r} and "
            f"precision={precision!r} are for .onnx files"
        )
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    if kind == "cpu":
        raise BackendError("a TensorRT engine runs on a GPU only; on the CPU give the .onnx file it was built from.")
    chosen: dict[str, Any] = options if kind is None else {"device": number, **options}
    return TensorRTBackend(path, **_known(TensorRTBackend, chosen))


def _device(name: str | None) -> tuple[Literal["cpu", "cuda"] | None, int]:
    """Kind and number. Raises BackendError for a name that no runtime has."""
    if name is None:
        return None, 0
    found = re.fullmatch(r"(cpu)|(cuda)(?::([0-9]{1,3}))?", name) if isinstance(name, str) else None
    if found is None:
        raise BackendError(f"device={shown(name)}; expected cpu, cuda, or cuda:1 for the second GPU.")
    return "cpu" if found[1] else "cuda", int(found[3] or 0)


def measure_runtimes(path: str | Path) -> Measurement | None:
    """Measure every runtime and precision that opens a .onnx file here, and remember it for "auto".

    None: there is only one, or a GPU runs it. Raises as `open_backend`.
    """
    path = as_path("path", path)
    if path.suffix.lower() != ".onnx" or not is_file(path):
        raise ModelError(f"{shown_path(path)}: no such .onnx file; only they run in more than one runtime")
    backend, measurement = _open_fastest(path, "auto", {}, again=True)
    backend.close()
    return measurement


def _open_onnx(path: Path, runtime: Runtime | None, precision: Precision | None, options: dict[str, Any]) -> Backend:
    if runtime == "auto" or (runtime is None and precision == "auto"):
        return _open_fastest(path, precision, options)[0]
    if runtime is None:
        absent = not has_onnxruntime() and find_spec("openvino") is not None
        runtime = "openvino" if precision == "bf16" or absent else "onnxruntime"
    if runtime == "openvino":
        from cornernet.engine.backends.openvino import OpenVinoBackend

        assert precision != "fp16", "refused above"
        return OpenVinoBackend(path, precision=precision, **_known(OpenVinoBackend, options))
    if precision == "bf16":
        raise BackendError(
            "ONNX Runtime computes in the precision of the file, which is never bf16; ask for runtime='openvino'"
        )
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(path, **_known(OnnxRuntimeBackend, options))


def _open_fastest(
    path: Path, precision: Precision | None, options: dict[str, Any], *, again: bool = False
) -> tuple[OnnxBackend, Measurement | None]:
    from cornernet.engine.backends.fastest import open_fastest

    if options.keys() - {"threads"}:
        raise TypeError(f"{', '.join(options)}: options of one runtime; with runtime='auto' there is only `threads`")

    def open_one(candidate: Candidate) -> OnnxBackend:
        return _open_onnx(path, candidate.runtime, candidate.precision, options)  # type: ignore[return-value,arg-type]

    return open_fastest(path, _candidates(precision), open_one, threads=options.get("threads"), again=again)


def _candidates(precision: Precision | None) -> list[Candidate]:
    """What is installed and computes in `precision`, in order of preference. Raises BackendError if there is none."""
    from cornernet.engine.backends.fastest import Candidate

    found = []
    if precision != "bf16" and onnxruntime_problem() is None:
        found.append(Candidate("onnxruntime", "fp32"))
    if find_spec("openvino") is not None and find_spec("onnx") is not None:
        from cornernet.engine.backends.openvino import computes_in_bf16

        if precision != "bf16":
            found.append(Candidate("openvino", "fp32"))
        if precision == "bf16" or (precision == "auto" and computes_in_bf16()):
            found.append(Candidate("openvino", "bf16"))
    if not found and precision == "bf16":
        return [Candidate("openvino", "bf16")]  # says what is missing
    return found or [Candidate("onnxruntime", "fp32")]


def weights_beside(path: Path) -> str:
    """What to say of a file that only continues a training run, where the run's weights lie beside it; else ''."""
    if path.suffix.lower() != ".pt" or not is_file(weights := path.with_suffix(".safetensors")):
        return ""
    return f"{path}: it only continues a training run (`cornernet train --resume`); the weights to use are {weights}"


def _known(backend: Callable[..., Backend], options: dict[str, Any]) -> dict[str, Any]:
    """The options, if the backend has them all. Raises TypeError naming those that it has."""
    known = [name for name in inspect.signature(backend).parameters if name != "path"]
    unknown = [name for name in options if name not in known]
    if unknown:
        cure = "" if "device" in known else ". A GPU: providers=['CUDAExecutionProvider', 'CPUExecutionProvider']"
        raise TypeError(f"no option {', '.join(unknown)} for this kind of model; expected {', '.join(known)}{cure}")
    return options
