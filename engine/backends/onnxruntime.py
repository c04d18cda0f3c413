"""ONNX Runtime: `.onnx` files on a CPU, or on a GPU through its CUDA provider."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.arguments import integer, shown
from cornernet.engine.backends import RawDetections
from cornernet.engine.backends.contract import CONTRACT, check_detections
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.installation import install, onnxruntime_problem
from cornernet.engine.model_card import HEAD_OUTPUTS, INPUT, METADATA_KEY, OUTPUTS, ModelCard

try:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        InvalidProtobuf,
        NoSuchFile,
    )
except (ImportError, AttributeError) as error:  # AttributeError: what two wheels over each other leave behind
    broken = f"ONNX Runtime cannot be imported: {error}. Mend it with: pip install --force-reinstall onnxruntime"
    raise BackendError(str(onnxruntime_problem() or broken)) from error

log = logging.getLogger("cornernet.onnxruntime")

Provider = str | tuple[str, dict[str, Any]]

PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")
ON_GPU = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_LONGEST_TRIAL = 30.0
"""Seconds of one run of the smallest canvas: hourglass-104 takes one, an endless loop for ever."""
_TYPES = {"float32": "tensor(float)", "int32": "tensor(int32)"}
_BAD_FILE = (InvalidProtobuf, NoSuchFile, UnicodeDecodeError)  # the last: its own message quotes damaged names


class OnnxRuntimeBackend:
    """A file that honours the ONNX contract, in one session; `run` may be called from several threads.

    Args:
        path: the .onnx file.
        providers: ONNX Runtime execution providers in order of preference; default CUDA if there is one, then the CPU.
        threads: of one operator; default one per core.

    Raises:
        ModelError: not an ONNX file, corrupted, without model card, other inputs and outputs than the contract's, or
            a graph that does not run: the smallest canvas is tried.
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
            options.intra_op_num_threads = integer("threads", threads, least=1, most=1024)
        chosen = _choose(providers)
        self._session: ort.InferenceSession | None = self._open(options, chosen)
        self._check_providers(chosen, required=providers is not None)
        self.card = self._read_card(self._session)
        self._check_contract(self._session)
        self._try_it(self._session)

    @property
    def active_providers(self) -> list[str]:
        """What really runs: ONNX Runtime falls back in silence if a provider cannot start."""
        return self._require_session().get_providers()

    def run(self, canvases: np.ndarray) -> RawDetections:
        """See `Backend.run`. Raises BackendError if ONNX Runtime fails, for example for lack of memory."""
        return self._run(canvases, None)

    def _run(self, canvases: np.ndarray, options: ort.RunOptions | None) -> RawDetections:
        session = self._require_session()
        try:
            outputs = session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(canvases)}, options)
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
        except (Fail, InvalidArgument, InvalidGraph) as error:
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

    def _read_card(self, session: ort.InferenceSession) -> ModelCard:
        try:
            text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: the metadata is not text: {error}. Export it again.") from error
        if text is None:
            raise ModelError(
                f"{self.path}: an ONNX file without a model card (metadata {METADATA_KEY!r}), so colour order, classes "
                "and canvas sizes are unknown. Write it with `cornernet export`."
            )
        return ModelCard.from_json(text, origin=str(self.path))

    def _check_contract(self, session: ort.InferenceSession) -> None:
        """Raise ModelError unless inputs and outputs are those of the contract."""
        try:
            outputs = {value.name: (value.type, value.shape) for value in session.get_outputs()}
            inputs = [(value.name, value.type, value.shape) for value in session.get_inputs()]
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: a name in the graph is not text: {error}. Export it again.") from error
        if self.card.outputs == "heads" or set(HEAD_OUTPUTS) <= set(outputs):
            raise ModelError(
                f"{self.path}: this file gives the raw maps ({', '.join(HEAD_OUTPUTS)}), not boxes. "
                "Export it with `--outputs detections` to detect."
            )
        expected = [(INPUT, "tensor(uint8)", 4)]
        colours = {shape[-1] for _, _, shape in inputs if len(shape) == 4 and isinstance(shape[-1], int)}
        if [(name, kind, len(shape)) for name, kind, shape in inputs] != expected or colours - {3}:
            raise ModelError(
                f"{self.path}: inputs are {inputs}; expected {INPUT!r}, uint8, (N, H, W, 3). Export it again."
            )
        for name, (rank, width, dtype) in CONTRACT.items():
            if name not in outputs:
                raise ModelError(f"{self.path}: no output {name!r} among {', '.join(outputs)}. Export it again.")
            kind, shape = outputs[name]
            # The last axis of a file made elsewhere may have a name for a length; then the trial run tells.
            other_width = width is not None and len(shape) == rank and isinstance(shape[-1], int) and shape[-1] != width
            if (kind, len(shape)) != (_TYPES[dtype], rank) or other_width:
                raise ModelError(
                    f"{self.path}: output {name!r} is {kind} of {len(shape)} dimensions {shape}; "
                    f"expected {_TYPES[dtype]} of {rank}" + (f", the last of length {width}" if width else "") + ". "
                    "Export it again."
                )

    def _try_it(self, session: ort.InferenceSession) -> None:
        """Run one empty canvas, the smallest or the one that the file fixes. Raises ModelError if that fails, or goes
        on for so long that the graph must hold an endless loop."""
        side = min(self.card.size_multiple, self.card.max_size)
        fixed = session.get_inputs()[0].shape
        shape = [size if isinstance(size, int) else usual for size, usual in zip(fixed, (1, side, side, 3))]
        options = ort.RunOptions()
        watchdog = threading.Timer(_LONGEST_TRIAL, setattr, (options, "terminate", True))
        watchdog.daemon = True
        if "TensorrtExecutionProvider" not in self.active_providers:  # it builds engines in its first run, for minutes
            watchdog.start()
        try:
            raw = self._run(np.zeros(shape, np.uint8), options)
            check_detections(raw, shape[0], self.card, self.name)
        except (BackendError, ValueError, MemoryError) as error:  # ValueError: a negative or enormous fixed size
            why = f"it had no end after {_LONGEST_TRIAL:g} s" if options.terminate else error or "out of memory"
            raise ModelError(f"{self.path}: the graph cannot be run: {why}") from error
        finally:
            watchdog.cancel()


def _are_providers(value: object) -> bool:
    """Names, or pairs of a name and its options."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(
            isinstance(entry, str) or (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str))
            for entry in value
        )
    )


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _choose(providers: Sequence[Provider] | None) -> list[Provider]:
    """The providers to ask for. Raises BackendError if one that was asked for does not exist here."""
    available = ort.get_available_providers()
    if providers is not None and not _are_providers(providers):
        raise TypeError(f"providers={shown(providers)}; expected names of ONNX Runtime: {', '.join(available)}")
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
