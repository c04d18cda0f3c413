"""TensorRT-RTX compiles kernels when a model first runs; kept in a file, later processes find them.

The file is `<key>.kernels` in the cache folder, named after the engine's content and the GPU. TensorRT-RTX itself
refuses one of another version or GPU, and then starts anew.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from cornernet.engine.backends.engine_card import EngineCard
from cornernet.engine.errors import BackendError
from cornernet.engine.whole_file import write_whole

log = logging.getLogger("cornernet.tensorrt")


class KernelCache:
    """Compiled kernels of one engine in this process, shared by all its contexts. file: None keeps nothing."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._cache: Any = None
        self._kept = 0

    def of_rtx(self, runtime_config: Any) -> Any:
        """The cache to run with, filled from the file. Needs a current CUDA context."""
        if self._cache is None:
            runtime_cache = runtime_config.create_runtime_cache()
            content = self.file.read_bytes() if self.file is not None and self.file.is_file() else b""
            if content and not runtime_cache.deserialize(content):
                log.info("%s is of another TensorRT-RTX or GPU: kernels are compiled anew", self.file)
            self._cache, self._kept = runtime_cache, len(content)
        return self._cache

    def save(self) -> None:
        """Write what was compiled since, if anything. A folder that cannot be written costs time, not results."""
        if self._cache is None or self.file is None:
            return
        content = _content_rtx(self._cache)
        if len(content) == self._kept:
            return
        try:
            write_whole(self.file, lambda partial: partial.write_bytes(content))
            self._kept = len(content)
        except OSError as error:
            log.info("compiled kernels are not kept: %s", error)

    def free(self) -> None:
        self._cache = None


def _content_rtx(runtime_cache: Any) -> bytes:
    return bytes(runtime_cache.serialize())


def default_file(card: EngineCard) -> Path:
    """`$XDG_CACHE_HOME/cornernet/kernels/`, by default `~/.cache/cornernet/kernels/`."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(home) if home else Path.home() / ".cache") / "cornernet" / "kernels"
    plan = card.engine
    return folder / f"{plan.sha256[:32]}.kernels"


def context_rtx(trt: Any, engine: Any, runtime_config: Any, kernels: KernelCache) -> tuple[Any, Any]:
    """A context that records its own graphs, and the configuration it uses, which must live as long as it."""
    if runtime_config is None:
        runtime_config = engine.create_runtime_config()
        runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if not runtime_config.set_runtime_cache(kernels.of_rtx(runtime_config)):
            raise BackendError("TensorRT-RTX refuses its own cache of kernels; report this.")
    return runtime_config, engine.create_execution_context(runtime_config)
