"""What has to be found before an engine can be deserialised, and the profile that runs a batch."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from cornernet.engine.backends import trt_api
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, Profile, Shape, why_it_does_not_load
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_plan import Plan, read_plan
from cornernet.engine.errors import BackendError, ImageError

log = logging.getLogger("cornernet.tensorrt")


def choose_profile(profiles: tuple[Profile, ...], shape: Shape, path: Path) -> tuple[int, int]:
    """Profile and batch size to run next, when `shape` = (images left, H, W).

    The one that takes most images, then fills up least, then is tuned for the nearest shape. Raises ImageError if no
    profile holds H x W.
    """
    images, height, width = shape
    best: tuple[tuple[float, ...], int, int] | None = None
    for index, profile in enumerate(profiles):
        batch = min(max(images, profile.min[0]), profile.max[0])
        if not profile.holds((batch, height, width)):
            continue
        area = math.prod((batch, height, width)) / math.prod(profile.opt)
        rank = (-min(batch, images), batch, abs(math.log(area)))
        if best is None or rank < best[0]:
            best = (rank, index, batch)
    if best is None:
        raise ImageError(
            f"canvas of {height} x {width} px fits no profile of {path.name} ({'; '.join(map(str, profiles))}). "
            f"Build with another one: cornernet build MODEL.onnx -o {path.name} --profile 1x{height}x{width},"
            f"4x{height}x{width},8x{height}x{width}"
        )
    return best[1], best[2]


def verdict_rtx(trt: Any, runtime: Any, content: bytes) -> list[str]:
    """TensorRT-RTX names why a plan cannot run here: VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, ..."""
    _, bits = runtime.get_engine_validity(content)
    return [name for name, bit in trt.EngineInvalidityDiagnostics.__members__.items() if int(bits) & int(bit)]


def deserialize(
    api: TensorRT, cuda: Cuda, facts: EngineCard, path: Path, library: Path | None, *, run_its_code: bool
) -> tuple[Any, Plan]:
    """Runtime and engine. Raises BackendError that says why it does not load; ModelError, see `read_plan`."""
    trt = api.module
    with api.logger.collect() as errors:
        runtime = trt.Runtime(api.logger)
        if run_its_code:
            runtime.engine_host_code_allowed = True
        content = path.read_bytes()
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            verdict = verdict_rtx(trt, runtime, content) if api.is_rtx else []
            raise BackendError(
                why_it_does_not_load(
                    path,
                    facts,
                    flavour=api.flavour,
                    version=api.version,
                    gpu=cuda.gpu_facts(),
                    library=library,
                    said=[*verdict, *errors],
                )
            )
    return runtime, read_plan(api, engine, facts.card.detection_outputs, float_canvases=facts.float_canvases)


def flavour_of(facts: EngineCard, path: Path) -> TensorRT:
    try:
        return trt_api.load(facts.flavour)
    except BackendError as error:
        raise BackendError(f"{path} was built by {facts.flavour} {facts.version}: {error}") from error


IN_THE_ENGINE = "engine"
"""In place of a library: the operators that an engine of `cornernet build --embed-plugins` carries."""


def check_code_is_wanted(facts: EngineCard, path: Path, plugins: str | Path | None) -> None:
    """Such an engine runs code that came with the file, which nobody should do by accident. Raises BackendError."""
    if facts.embeds_plugins and plugins != IN_THE_ENGINE:
        raise BackendError(
            f"{path} carries compiled operators, and opening it runs their code. If you trust where it comes from, "
            f'say so: plugins="{IN_THE_ENGINE}", in place of a library. Or build it here, without --embed-plugins.'
        )
    if plugins == IN_THE_ENGINE and not facts.embeds_plugins:
        raise BackendError(f"{path} carries no operators: it was not built with --embed-plugins.")


def load_plugins(api: TensorRT, cuda: Cuda, facts: EngineCard, path: Path, plugins: str | Path | None) -> Path | None:
    """Register the operators that the engine needs; the library used. Raises BackendError if there is none, or if it
    was compiled for CUDA of a later major version than the driver's."""
    if facts.plugins is None or facts.embeds_plugins:
        return None
    library = Path(plugins) if plugins else trt_api.find_plugin_library()
    needs = f"{path} needs the operators {', '.join(sorted(facts.operators))} of {facts.plugins.name}"
    if library is None:
        raise BackendError(f"{needs}, which was not found. {trt_api.HOW_TO_GET_PLUGINS}")
    missing = sorted(set(facts.operators) - set(api.load_plugins(library)))
    if missing:
        raise BackendError(f"{needs}, but {library} lacks {', '.join(missing)}. {trt_api.HOW_TO_GET_PLUGINS}")
    if problem := trt_api.driver_problem(library, cuda.driver_version()):
        raise BackendError(problem)
    if FileFacts.of(library).sha256 != facts.plugins.sha256:
        log.warning("%s was built with another build of %s; if boxes look wrong, build it again", path, library)
    return library
