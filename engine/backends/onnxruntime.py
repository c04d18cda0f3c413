"""ONNX Runtime: `.onnx` files on a CPU, or on a GPU through its CUDA provider."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.arguments import integer, shown
from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.contract import Tensor, card_of, check_tensors, run_in_parts, try_smallest
from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.backends.float_canvases import as_declared, with_float_canvases
from cornernet.engine.backends.given_back import given_back
from cornernet.engine.backends.onnx_outline import outline
from cornernet.engine.backends.ort_binding import AT_ONCE, DeviceRuns
from cornernet.engine.backends.placing import Packed
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.installation import install, onnxruntime_problem
from cornernet.engine.model_card import INPUT, METADATA_KEY, ModelCard

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
_BAD_FILE = (InvalidProtobuf, NoSuchFile, UnicodeDecodeError)  # the last: its own message quotes damaged names


class OnnxRuntimeBackend:
    """A file that honours the ONNX contract, in one session; `run` may be called from several threads.

    Args:
        path: the .onnx file.
        providers: ONNX Runtime execution providers in order of preference; default CUDA if there is one, then the CPU.
        threads: of one operator; default one per core. They wait by spinning while a run lasts, unless the environment
            says OMP_WAIT_POLICY=passive, for machines whose cores several processes share.

    Raises:
        ModelError: not an ONNX file, corrupted, without model card, other inputs and outputs than the contract's, or
            a graph that does not run: the smallest canvas is tried.
        BackendError: ONNX Runtime is missing, installed twice, or cannot start.

    On a GPU its input is memory of the device (ort_binding.py), two batches overlap, and with cuda-python and the
    library of plugins/ it places images itself. Expected, for no GPU was at hand: its CUDA provider has no integer
    convolutions, so int8 files are slower there than fp16 ones; it searches cuDNN's algorithms anew for each canvas
    size unless it is told otherwise, providers=[("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})],
    or resize="fit" leaves only one; and which of equal scores comes first is its own choice.
    """

    name = "ONNX Runtime"
    reason = ""

    def __init__(
        self, path: str | Path, *, providers: Sequence[Provider] | None = None, threads: int | None = None
    ) -> None:
        self.path = Path(path)
        problem = onnxruntime_problem()
        if problem is not None:
            raise BackendError(str(problem))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin on after a run take cores from those that read and post-process the neighbouring batches.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":  # several processes share the cores
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of one shape's memory is kept beside the arena: a quarter of the whole, and no faster.
        options.enable_mem_pattern = False
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self.path.resolve().parent)
        )
        if threads is not None:
            options.intra_op_num_threads = integer("threads", threads, least=1, most=1024)
        chosen = _choose(providers)
        self._session: ort.InferenceSession | None = self._open(options, chosen)
        self._check_providers(chosen, required=providers is not None)
        self.card, inputs, outputs = self._read_file(self._session)
        check_tensors(inputs, outputs, self.card, self.path)
        (self.images,) = inputs
        self.takes_float = self.images.dtype == "float32"
        self.precision = self.card.precision
        device = _device_of(self._session)
        names, dtype = self.card.detection_outputs, np.dtype(self.images.dtype)
        self._device = None if device is None else DeviceRuns(self._session, device, _new_input, names, dtype)
        self.in_flight = 1 if device is None else AT_ONCE
        try:
            self._try_it()
        except BaseException:
            self.close()
            raise

    @property
    def active_providers(self) -> list[str]:
        """What really runs: ONNX Runtime falls back in silence if a provider cannot start."""
        return self._require_session().get_providers()

    @property
    def computes_on_cpu(self) -> bool:
        """Whether `run` needs the cores that also read images."""
        return not set(self.active_providers) & set(ON_GPU)

    def run(self, canvases: np.ndarray) -> Outputs:
        """See `Backend.run`. Raises BackendError if ONNX Runtime fails, for example for lack of memory."""
        return run_in_parts(self._run, canvases, self.images.shape[0])

    @property
    def places_views(self) -> bool:
        """Whether images may be placed on the device: on a GPU, with cuda-python and the project's kernels."""
        return self._device is not None and self._device.places_views

    def run_views(self, packed: Packed) -> Outputs:
        """`run` for canvases that are placed on the GPU. Raises as `run`."""
        return run_in_parts(self._run, packed, self.images.shape[0])

    def check_image(self, image: DeviceImage) -> None:
        """Raises ImageError if the image does not lie on the device of the model, whole."""
        assert self._device is not None
        self._device.check_image(image)

    def allocate(self, size: int) -> np.ndarray:
        """(size,) uint8; page-locked where the model runs on a GPU and cuda-python is there. Freed by `close`."""
        return np.empty(size, np.uint8) if self._device is None else self._device.allocate(size)

    def _run(self, canvases: np.ndarray | Packed, options: ort.RunOptions | None = None) -> Outputs:
        session, device = self._require_session(), self._device
        try:
            if device is not None:
                return device.run(canvases, options)
            assert isinstance(canvases, np.ndarray), "images are placed on devices"
            pixels = np.ascontiguousarray(as_declared(canvases, floats=self.takes_float))
            outputs = session.run(list(self.card.detection_outputs), {INPUT: pixels}, options)
        except BackendError:
            raise
        except Exception as error:  # the binding raises a dozen types that share no base of their own
            raise BackendError(
                f"ONNX Runtime failed on canvases {canvases.shape} with {', '.join(session.get_providers())}: {error}"
            ) from error
        return named_outputs(outputs)

    def close(self) -> None:
        """Wait for what runs on a device, free the session. `run` fails afterwards. May be called twice."""
        device, self._device, self._session = self._device, None, None
        if device is not None:
            device.close()

    def _require_session(self) -> ort.InferenceSession:
        session = self._session
        if session is None:
            raise BackendError(f"{self.path}: this model was closed; open it again")
        return session

    def _open(self, options: ort.SessionOptions, providers: list[Provider]) -> ort.InferenceSession:
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such file")
        content = with_float_canvases(outline(self.path.resolve()))
        try:
            with given_back(self.path.stat().st_size):
                return ort.InferenceSession(content, options, providers=providers)
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

    def _read_file(self, session: ort.InferenceSession) -> tuple[ModelCard, list[Tensor], list[Tensor]]:
        """Card, inputs and outputs. Raises ModelError where they are not text: the binding decodes them when asked."""
        try:
            metadata = session.get_modelmeta().custom_metadata_map
            inputs, outputs = (
                [_tensor(value) for value in values()] for values in (session.get_inputs, session.get_outputs)
            )
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: a name or the metadata is not text: {error}. Export it again.") from error
        return card_of(metadata.get(METADATA_KEY), self.path), inputs, outputs

    def _try_it(self) -> None:
        """Run the smallest canvas. Raises ModelError if that fails, or takes so long that the graph has no end."""
        options = ort.RunOptions()
        watchdog = threading.Timer(_LONGEST_TRIAL, setattr, (options, "terminate", True))
        watchdog.daemon = True
        if "TensorrtExecutionProvider" not in self.active_providers:  # it builds engines in its first run, for minutes
            watchdog.start()

        def run(canvases: np.ndarray) -> Outputs:
            return run_in_parts(lambda part: self._run(part, options), canvases, self.images.shape[0])

        try:
            try_smallest(run, self.images, self.card, self.path)
        except ModelError as error:
            if not options.terminate:
                raise
            why = f"it had no end after {_LONGEST_TRIAL:g} s"
            raise ModelError(f"{self.path}: the graph cannot be run: {why}") from error
        finally:
            watchdog.cancel()


def _device_of(session: ort.InferenceSession) -> tuple[str, int] | None:
    """Kind and number of the device that a session computes on, for a binding; None for the CPU."""
    for provider, options in session.get_provider_options().items():
        if provider in ON_GPU:
            return "cuda", int(options.get("device_id", 0))
    return None


def _new_input(kind: str, number: int, dtype: np.dtype[Any], shape: Sequence[int]) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, kind, number)


def _tensor(value: Any) -> Tensor:
    """ONNX Runtime says `tensor(float)` for float32 and gives names to open lengths."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(length if isinstance(length, int) else None for length in value.shape)
    return Tensor(value.name, {"float": "float32", "double": "float64"}.get(kind, kind), shape)


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
