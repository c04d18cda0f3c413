"""ONNX Runtime: `.onnx` files on a CPU, or on a GPU through its CUDA provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends import RawDetections
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.installation import install, onnxruntime_problem
from cornernet.engine.model_card import HEAD_OUTPUTS, INPUT, METADATA_KEY, OUTPUTS, ModelCard

try:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidProtobuf, NoSuchFile
except (ImportError, AttributeError) as error:  # AttributeError: what two wheels over each other leave behind
    broken = f"ONNX Runtime cannot be imported: {error}. Mend it with: pip install --force-reinstall onnxruntime"
    raise BackendError(str(onnxruntime_problem() or broken)) from error

log = logging.getLogger("cornernet.onnxruntime")

Provider = str | tuple[str, dict[str, Any]]

PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_TYPES = dict(zip(OUTPUTS, ("tensor(float)", "tensor(float)", "tensor(float)", "tensor(int32)", "tensor(int32)")))
_RANKS = dict(zip(OUTPUTS, (3, 2, 3, 2, 1)))
_BAD_FILE = (InvalidProtobuf, NoSuchFile)


class OnnxRuntimeBackend:
    """A file that honours the ONNX contract, in one session; `run` may be called from several threads.

    Args:
        path: the .onnx file.
        providers: ONNX Runtime execution providers in order of preference; default CUDA if there is one, then the CPU.
        threads: of one operator; default one per core.

    Raises:
        ModelError: not an ONNX file, corrupted, without model card, or other inputs and outputs than the contract's.
        BackendError: ONNX Runtime is missing, installed twice, or cannot start.
    """

    name = "ONNX Runtime"

    def __init__(
        self, path: str | Path, *, providers: Sequence[Provider] | None = None, threads: int | None = None
    ) -> None:
        self.path = Path(path)
        problem = onnxruntime_problem()
        if problem is not None:
            raise BackendError(str(problem))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            if threads < 1:
                raise ValueError(f"threads={threads}; expected at least 1")
            options.intra_op_num_threads = threads
        chosen = _choose(providers)
        self._session: ort.InferenceSession | None = self._open(options, chosen)
        self._check_providers(chosen, required=providers is not None)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{self.path}: an ONNX file without a model card (metadata {METADATA_KEY!r}), so colour order, classes "
                "and canvas sizes are unknown. Write it with `cornernet export`."
            )
        self.card = ModelCard.from_json(text, origin=str(self.path))
        self._check_contract(self._session)

    @property
    def active_providers(self) -> list[str]:
        """What really runs: ONNX Runtime falls back in silence if a provider cannot start."""
        return self._require_session().get_providers()

    def run(self, canvases: np.ndarray) -> RawDetections:
        """See `Backend.run`. Raises BackendError if ONNX Runtime fails, for example for lack of memory."""
        session = self._require_session()
        try:
            outputs = session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(canvases)})
        except Exception as error:  # the binding raises a dozen types that share no base of their own
            raise BackendError(
                f"ONNX Runtime failed on canvases {canvases.shape} with {', '.join(session.get_providers())}: {error}"
            ) from error
        return RawDetections(*outputs)

    def close(self) -> None:
        """Free the session. `run` fails afterwards."""
        self._session = None

    def _require_session(self) -> ort.InferenceSession:
        session = self._session
        if session is None:
            raise BackendError(f"{self.path}: this model was closed; open it again")
        return session

    def _open(self, options: ort.SessionOptions, providers: list[Provider]) -> ort.InferenceSession:
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such file")
        try:
            return ort.InferenceSession(str(self.path), options, providers=providers)
        except _BAD_FILE as error:
            raise ModelError(f"{self.path}: not an ONNX file, or a corrupted one: {error}") from error
        except (Fail, InvalidArgument) as error:
            raise ModelError(
                f"{self.path}: ONNX Runtime refuses this graph; export it again. It says: {error}"
            ) from error
        except Exception as error:  # as in `run`
            raise BackendError(f"{self.path}: ONNX Runtime {ort.__version__} cannot load this file: {error}") from error

    def _check_providers(self, chosen: Sequence[Provider], *, required: bool) -> None:
        """Say so if a provider did not start: ONNX Runtime goes on with the next one. Raises if it was asked for."""
        absent = [name for name in map(_name, chosen) if name not in self.active_providers]
        if not absent:
            return
        message = (
            f"{self.path}: {', '.join(absent)} did not start, ONNX Runtime {ort.__version__} runs this on "
            f"{', '.join(self.active_providers)}. It needs an NVIDIA driver, and CUDA and cuDNN of its own "
            "versions: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
        if required:
            raise BackendError(message)
        log.warning(message)

    def _check_contract(self, session: ort.InferenceSession) -> None:
        """Raise ModelError unless inputs and outputs are those of the contract."""
        outputs = {output.name: output for output in session.get_outputs()}
        if self.card.outputs == "heads" or set(HEAD_OUTPUTS) <= set(outputs):
            raise ModelError(
                f"{self.path}: this file gives the raw maps ({', '.join(HEAD_OUTPUTS)}), not boxes. "
                "Export it with `--outputs detections` to detect."
            )
        inputs = [(value.name, value.type, len(value.shape)) for value in session.get_inputs()]
        if inputs != [(INPUT, "tensor(uint8)", 4)]:
            raise ModelError(
                f"{self.path}: inputs are {inputs}; expected {INPUT!r}, uint8, (N, H, W, 3). Export it again."
            )
        for name in OUTPUTS:
            found = outputs.get(name)
            if found is None:
                raise ModelError(f"{self.path}: no output {name!r} among {', '.join(outputs)}. Export it again.")
            if (found.type, len(found.shape)) != (_TYPES[name], _RANKS[name]):
                raise ModelError(
                    f"{self.path}: output {name!r} is {found.type} of {len(found.shape)} dimensions; "
                    f"expected {_TYPES[name]} of {_RANKS[name]}. Export it again."
                )


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _choose(providers: Sequence[Provider] | None) -> list[Provider]:
    """The providers to ask for. Raises BackendError if one that was asked for does not exist here."""
    available = ort.get_available_providers()
    chosen: list[Provider] = [name for name in PREFERRED if name in available] if providers is None else list(providers)
    for name in map(_name, chosen):
        if name not in available:
            raise BackendError(
                f"provider {name!r} is not in this ONNX Runtime, which has {', '.join(available)}. "
                "For CUDA and TensorRT: pip uninstall -y onnxruntime && " + install("gpu")
            )
    if any(name in ON_GPU for name in map(_name, chosen)) and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA and cuDNN that came as pip packages lie where the system loader does not look
    return chosen
