"""OpenVINO: `.onnx` files on a CPU, in float32 or, where the CPU computes in it, in bfloat16."""

from __future__ import annotations

import functools
import hashlib
import logging
import queue
from pathlib import Path
from typing import Literal

import numpy as np

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.contract import card_of, check_tensors, run_in_parts, try_smallest
from cornernet.engine.backends.float_canvases import as_declared
from cornernet.engine.backends.given_back import given_back
from cornernet.engine.backends.onnx_inline import Inlined, read_inlined
from cornernet.engine.cache_folder import cache_folder
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.installation import missing
from cornernet.engine.model_card import INPUT, METADATA_KEY

try:
    import openvino as ov
except ImportError as absent:
    raise missing("openvino", "runtime='openvino'") from absent

log = logging.getLogger("cornernet.openvino")

Precision = Literal["fp32", "bf16", "auto"]
Mode = Literal["latency", "throughput"]


class OpenVinoBackend:
    """A file that honours the ONNX contract, compiled for this CPU; `run` may be called from several threads.

    Large weights stay in the file, which is mapped while the model is open: replace it, as `cornernet export` does, but
    do not write into it.

    Args:
        path: the .onnx file; its functions are inlined in memory.
        precision: "fp32", "bf16", or "auto": bf16 if this CPU computes in it.
        threads: of one operator; default one per core.
        mode: "latency": one batch has all cores. "throughput": several, `in_flight`, have some of them each.
        cache: keep the compiled model: in this folder, or True: `~/.cache/cornernet/openvino`. It opens earlier,
            but takes as much disk as the file and its memory again, so that the default is not to.

    Raises:
        ModelError: not an ONNX file, corrupted, without model card, other inputs and outputs than the contract's, or
            a graph that does not run: the smallest canvas is tried.
        BackendError: OpenVINO is missing, or bf16 was asked for on a CPU that does not compute in it.
    """

    computes_on_cpu = True
    reason = ""

    def __init__(
        self,
        path: str | Path,
        *,
        precision: Precision | None = None,
        threads: int | None = None,
        mode: Mode = "latency",
        cache: Path | str | Literal[True] | None = None,
    ) -> None:
        self.path = Path(path)
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads}; expected at least 1")
        if mode not in ("latency", "throughput"):
            raise ValueError(f"mode={mode!r}; expected 'latency' or 'throughput'")
        if not self.path.is_file():
            raise ModelError(f"{self.path}: no such file")
        core = shared_core()
        half = _in_bf16(core, precision)
        inlined = read_inlined(self.path)
        self.card = card_of(inlined.metadata.get(METADATA_KEY), self.path)
        check_tensors(inlined.inputs, inlined.outputs, self.card, self.path)
        (self.images,) = inlined.inputs
        self.takes_float = self.images.dtype == "float32"
        self.precision = "bf16" if half else self.card.precision
        self.name = "OpenVINO bf16" if half else "OpenVINO"
        options = {"INFERENCE_PRECISION_HINT": "bf16" if half else "f32", "PERFORMANCE_HINT": mode.upper()}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        if cache is not None:
            options["CACHE_DIR"] = str(self._cache_of_this_file(cache))
        with given_back(self.path.stat().st_size, inlined.files):
            compiled = self._compile(core, inlined, options)
            self.in_flight = 1 if mode == "latency" else compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self._requests: queue.SimpleQueue[ov.InferRequest] | None = queue.SimpleQueue()
            for _ in range(self.in_flight):
                self._requests.put(compiled.create_infer_request())
            try_smallest(self.run, self.images, self.card, self.path)  # packs the weights

    def run(self, canvases: np.ndarray) -> Outputs:
        """See `Backend.run`. Raises BackendError if OpenVINO fails, for example for lack of memory."""
        return run_in_parts(self._run, canvases, self.images.shape[0])

    def close(self) -> None:
        """Free the model. `run` fails afterwards."""
        self._requests = None

    def _run(self, canvases: np.ndarray) -> Outputs:
        requests = self._requests
        if requests is None:
            raise BackendError(f"{self.path}: this model was closed; open it again")
        request = requests.get()
        try:
            declared = as_declared(canvases, floats=self.takes_float)
            pixels = np.require(declared, requirements=["C", "W"])  # OpenVINO does not own it: alive until `infer` ends
            request.set_tensor(INPUT, ov.Tensor(pixels, shared_memory=True))
            request.infer()
            # Copies: the next batch of this request overwrites what it gave.
            return named_outputs([np.array(request.get_tensor(name).data) for name in self.card.detection_outputs])
        except Exception as error:  # the binding raises whatever C++ and pybind11 do
            raise BackendError(f"{self.name} failed on canvases {canvases.shape}: {error}") from error
        finally:
            requests.put(request)

    def _compile(self, core: ov.Core, inlined: Inlined, options: dict[str, str]) -> ov.CompiledModel:
        try:
            model = core.read_model(inlined.graph)
            for parameter in model.get_parameters():
                values = inlined.weights.get(parameter.friendly_name)
                if values is not None:
                    parameter.output(0).replace(ov.op.Constant(values, shared_memory=True).output(0))
                    model.remove_parameter(parameter)
            model.validate_nodes_and_infer_types()
            return core.compile_model(model, "CPU", options)
        except Exception as error:  # as in `_run`
            raise ModelError(
                f"{self.path}: OpenVINO {ov.__version__} refuses this graph; export it again. It says: {error}"
            ) from error

    def _cache_of_this_file(self, cache: Path | str | Literal[True]) -> Path:
        """A folder of its own for each content: OpenVINO's key need not tell files of equal graphs apart."""
        with self.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return (cache_folder("openvino") if cache is True else Path(cache)) / content[:32]


@functools.cache
def shared_core() -> ov.Core:
    """One for the process, kept to its end.

    The CPU plugin of a core puts a stack for signal handlers of its own under the thread that makes it, and frees that
    with the core. Where cores overlap, the last one to go puts back the stack of one that went before: the next signal
    that Python handles, Ctrl-C or the end of a child, then kills the process.
    """
    return ov.Core()


def computes_in_bf16() -> bool:
    """Whether this CPU has instructions for it (AVX512_BF16, AMX, SVE's BF16)."""
    return _able(shared_core())


def _able(core: ov.Core) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _in_bf16(core: ov.Core, precision: Precision | None) -> bool:
    """Whether to compute in bf16. Raises BackendError if that was asked for and cannot be."""
    if precision not in (None, "fp32", "bf16", "auto"):
        raise ValueError(f"precision={precision!r}; expected 'fp32', 'bf16' or 'auto'")
    if precision in (None, "fp32"):
        return False
    able = _able(core)
    if precision == "bf16" and not able:
        raise BackendError(
            f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} does not compute in bf16 (that takes AVX512_BF16 or AMX): "
            "it would be slower than fp32. Ask for precision='fp32' or 'auto'."
        )
    if not able:
        log.info("precision='auto': this CPU does not compute in bf16; it is fp32")
    return able
