"""One way into `tensorrt` (10.12 to 11.x) and `tensorrt_rtx`: which is installed, its logger, its plugin registry.

What a version can do is asked of the module itself (`hasattr`), never of its version string. Enumerations are used by
name only: TensorRT 11 renumbered most of them.

Convention, which a test relies on: a variable named `trt` is the TensorRT module, and `builder`, `config`, `network`,
`parser`, `parser_error`, `optimization`, `registry`, `creator`, `runtime`, `engine`, `context`, `runtime_config`,
`inspector`, `layer`, `tensor` are its objects. The test collects every attribute reached through these names and looks
it up in the true bindings of 10.16 and 11.4.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cornernet.engine.errors import BackendError
from cornernet.engine.installation import install
from cornernet.plugins import LIBRARY_VARIABLE, library_path

log = logging.getLogger("cornernet.tensorrt")

FLAVOURS = ("tensorrt", "tensorrt_rtx")
INSTALL = {
    "tensorrt": f"{install('gpu')}  (tensorrt 10.12 or newer, cuda-python)",
    "tensorrt_rtx": f"{install('rtx')}  (tensorrt-rtx 1.7 or newer)",
}
NAMESPACE = "cornernet"


class TensorRT:
    """One flavour of TensorRT, loaded.

    module    the Python module; the rest of the code calls it `trt`
    flavour   "tensorrt" | "tensorrt_rtx"
    version   e.g. "10.16.1.11"
    logger    forwards to Python logging; TensorRT keeps the first one it sees, so there is one per process
    """

    def __init__(self, module: ModuleType, flavour: str) -> None:
        self.module = module
        self.flavour = flavour
        self.version = str(module.__version__)
        self.is_rtx = flavour == "tensorrt_rtx"
        self.logger: Any = _python_logger(module)
        self._loaded: dict[Path, Any] = {}
        self._lock = threading.Lock()

    @property
    def has_own_graphs(self) -> bool:
        """True if the runtime captures CUDA graphs itself (TensorRT-RTX): its kernels are compiled at run time and
        swapped for better ones in the background, which a capture of ours would freeze out."""
        return hasattr(self.module, "CudaGraphStrategy")

    @property
    def can_target(self) -> bool:
        """True if it builds for a named compute capability without that GPU, or any GPU, at hand (TensorRT-RTX)."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def uses_timing_cache(self) -> bool:
        """False for TensorRT-RTX: kernels are not timed at build, and asking for a cache needs a GPU."""
        return not self.is_rtx

    def network_flags(self) -> int:
        """Strongly typed: required on 10.12 and newer 10.x, the only way on 11."""
        trt = self.module
        return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def plugin_operators(self) -> tuple[str, ...]:
        """Names of our operators that the registry can create now."""
        registry = self.module.get_plugin_registry()
        return tuple(sorted(creator.name for creator in registry.all_creators if creator.plugin_namespace == NAMESPACE))

    def load_plugins(self, library: Path) -> tuple[str, ...]:
        """Register the operators of `library` once per process; returns their names.

        Raises BackendError if the file is missing, is no library of ours, or operators of the same names came from
        another file (a registry holds one creator per name).
        """
        library = library.resolve()
        with self._lock, self.logger.collect() as errors:
            if library not in self._loaded:
                if not library.is_file():
                    raise BackendError(f"no plugin library at {library}. {HOW_TO_GET_PLUGINS}")
                if self.is_rtx:
                    from cornernet.engine.backends.rtx_loader import make_parser_find_its_library

                    make_parser_find_its_library(self.module)
                registry = self.module.get_plugin_registry()
                handle = registry.load_library(str(library))
                if handle is None:
                    raise BackendError(self._why_not_loaded(library, errors))
                self._loaded[library] = handle
        return self.plugin_operators()

    def _why_not_loaded(self, library: Path, errors: list[str]) -> str:
        present = self.plugin_operators()
        if present:
            others = ", ".join(str(path) for path in self._loaded) or "another library of this process"
            return (
                f"the operators {', '.join(present)} are already registered by {others}, so {library} cannot be "
                "loaded too. Use one plugin library per process."
            )
        return (
            f"{self.flavour} {self.version} could not load {library}: {'; '.join(errors) or 'no reason given'}. "
            "Build it again for this TensorRT and CUDA: cmake -B build && cmake --build build -j2"
        )


HOW_TO_GET_PLUGINS = (
    "Build it with `cmake -B build && cmake --build build -j2` (or CORNERNET_PLUGINS=1 pip install .) and name it with "
    f"--plugins or {LIBRARY_VARIABLE}; or build the engine without it: `cornernet build MODEL.onnx --plugins none`."
)


def available_flavours() -> tuple[str, ...]:
    """Flavours whose Python package is installed, the full TensorRT first."""
    return tuple(name for name in FLAVOURS if importlib.util.find_spec(name) is not None)


@cache
def load(flavour: str | None = None) -> TensorRT:
    """Import TensorRT. `flavour` None: `tensorrt` if installed, else `tensorrt_rtx`.

    Raises BackendError with the command that installs it, or with the loader's words if the installation is broken.
    """
    if flavour is not None and flavour not in FLAVOURS:
        raise BackendError(f"unknown TensorRT flavour {flavour!r}; expected one of {', '.join(FLAVOURS)}.")
    if flavour is None:
        present = available_flavours()
        if not present:
            raise BackendError(f"TensorRT is not installed. {' or '.join(INSTALL.values())}")
        return load(present[0])
    try:
        return TensorRT(importlib.import_module(flavour), flavour)
    except ModuleNotFoundError as error:
        if error.name != flavour:
            raise BackendError(f"{flavour} is installed but broken: {error}. {INSTALL[flavour]}") from error
        raise BackendError(f"{flavour} is not installed. {INSTALL[flavour]}") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(f"{flavour} is installed but cannot be loaded: {error}. {INSTALL[flavour]}") from error


def find_plugin_library() -> Path | None:
    """The compiled operators, where `cornernet.plugins.library_path` finds them; None if they were not built.

    Raises BackendError if CORNERNET_PLUGINS_LIBRARY names a file that does not exist.
    """
    library = library_path()
    named = os.environ.get(LIBRARY_VARIABLE)
    if library is None and named:
        raise BackendError(f"{LIBRARY_VARIABLE} names {named}, which does not exist. {HOW_TO_GET_PLUGINS}")
    return library


def driver_problem(library: Path, driver_version: int) -> str:
    """Why the kernels in `library` cannot run with this driver (12040 is CUDA 12.4; 0 unknown); empty if they can.

    The library brings a CUDA runtime of its own, which works with every driver of its major version and later ones.
    """
    try:
        ask = ctypes.CDLL(str(library)).cornernet_cuda_version
    except (OSError, AttributeError):  # no library of ours, which the registry judges, or one of before this question
        return ""
    compiled = int(ask())
    if not driver_version or compiled // 1000 <= driver_version // 1000:
        return ""
    return (
        f"{library} was compiled with CUDA {compiled // 1000}, the NVIDIA driver is for CUDA {driver_version // 1000}: "
        "install a newer driver, or build the library again with an older toolkit."
    )


_LOGGERS: list[Any] = []
"""TensorRT keeps a bare pointer to the first logger it is given, so none may ever be freed."""

_HARMLESS = "already exists, the output tensors of this new instance will not be queryable"
"""Said for every node of an ONNX function that is called twice, which is what functions are for."""


def _python_logger(trt: Any) -> Any:
    """An ILogger that forwards to the logger "cornernet.tensorrt" and lets callers collect the errors of a step."""
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.DEBUG - 5,
    }

    class PythonLogger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._listeners: dict[int, deque[str]] = {}

        def log(self, severity: Any, message: str) -> None:
            level = levels[severity]
            if _HARMLESS in message:
                level = logging.DEBUG
            if level == logging.ERROR:
                for listener in tuple(self._listeners.values()):
                    listener.append(" ".join(message.split()))
                # An error is reported once, by the exception that carries it; without a listener it is logged as is.
                level = logging.DEBUG if self._listeners else level
            log.log(level, message)

        @contextmanager
        def collect(self) -> Iterator[Any]:
            """The error lines of the enclosed step, newest 20. Threads share TensorRT's log: may see each other's."""
            errors: deque[str] = deque(maxlen=20)
            self._listeners[id(errors)] = errors
            try:
                yield errors
            finally:
                del self._listeners[id(errors)]

    logger = PythonLogger()
    _LOGGERS.append(logger)
    return logger
