"""ONNX -> TensorRT engine. The precision is the file's own (strongly typed); nothing here changes a number.

    parse (parse_network.py) -> check precision and profiles -> build -> inspect (inspect_engine.py) -> write with card

Built engines are found again by content (build_cache.py).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cornernet.engine.backends import trt_api
from cornernet.engine.backends.cuda_runtime import gpu_facts
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, Profile
from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import INPUT
from cornernet.engine.whole_file import write_whole
from cornernet.export import build_cache
from cornernet.export.build_progress import Progress, run_watched
from cornernet.export.inspect_engine import (
    check_engine,
    check_plan_names,
    check_precision,
    engine_facts,
    network_facts,
)
from cornernet.export.parse_network import Parsed, check_profiles, default_profile, parse, read_onnx


class BuildReport(NamedTuple):
    """path: the plan. card: what its sidecar holds. seconds: parse and build. cached: copied, not built.
    notes: what the user should know and could not be an error."""

    path: Path
    card: EngineCard
    seconds: float
    cached: bool
    notes: tuple[str, ...]


def build_engine(
    onnx: str | Path,
    output: str | Path,
    *,
    profiles: Iterable[str | Profile] = (),
    plugins: Path | Literal["auto"] | None = "auto",
    timing_cache: Path | None = None,
    opt_level: int | None = None,
    targets: Iterable[str] = (),
    flavour: str | None = None,
    progress: Progress | None = None,
    cache: Path | Literal["default"] | None = "default",
) -> BuildReport:
    """Build `output` (plain TensorRT plan) and `output`.json (its card) from a file of `cornernet export`.

    Args:
        profiles: input shapes, "min,opt,max" each NxHxW; none: see `default_profile`.
        plugins: our compiled operators. "auto": if the library is found; None: standard operators only.
        timing_cache: file of kernel timings, read if present, written after; makes later builds faster.
        opt_level: 0 (fast build) to 5 (search longest); None: TensorRT's default, 3.
        targets: TensorRT-RTX: compute capabilities to build for ("sm_89"); none: what the flavour does by default.
        flavour: "tensorrt" | "tensorrt_rtx"; None: the first that is installed.
        progress: told about TensorRT's phases.
        cache: folder of built engines; None: build in any case.

    Raises ModelError: the file, its card, a profile or the precision is wrong. BackendError: TensorRT, GPU or plugin
    library missing, or the build failed. KeyboardInterrupt: Ctrl-C, also in the middle of a build; nothing is written.
    """
    began = time.perf_counter()
    source, destination, targets = Path(onnx), Path(output), tuple(targets)
    notes: list[str] = []
    model, card = read_onnx(source)
    api = trt_api.load(flavour or ("tensorrt_rtx" if targets else None))
    gpu = _builds_for(api, targets)
    library = _library(plugins, notes)

    parsed = parse(api, model, source, api.load_plugins(library) if library else ())
    del model  # up to 800 MB, which the builder may need
    if library and not parsed.operators:
        notes.append(f"{source.name} holds none of the library's operators (exported with --inline?): no plugins")
        library = None
    shape = tuple(parsed.network.get_input(0).shape)
    chosen = tuple(Profile.parse(p) if isinstance(p, str) else p for p in profiles) or (default_profile(card, shape),)
    check_profiles(card, parsed.network, chosen)
    facts = network_facts(api, parsed.network)
    check_precision(facts, card.precision, source.name)
    config = _configure(api, parsed.builder, chosen, targets, opt_level)
    draft = EngineCard(
        card=card,
        engine=FileFacts(name=destination.name, sha256="", bytes=0),
        onnx=FileFacts.of(source),
        plugins=FileFacts.of(library) if library else None,
        operators=parsed.operators,
        flavour=api.flavour,  # type: ignore[arg-type]
        version=api.version,
        gpu=gpu,
        targets=targets,
        profiles=chosen,
        opt_level=config.builder_optimization_level,
        flags=_flags(api, config),
        layers=facts.layers,
        precisions=facts.precisions,
        inspected="network",
    )
    folder = build_cache.default_folder() if cache == "default" else cache
    finished = build_cache.fetch(folder, draft, destination) if folder else None
    cached = finished is not None
    if finished is None:
        plan = _build(api, parsed, config, timing_cache, progress, notes)
        finished = _write(api, draft, plan, destination, folder, notes)
    if finished.inspected == "network":
        notes.append(_NOT_INSPECTED)
    return BuildReport(destination, finished, time.perf_counter() - began, cached, tuple(notes))


def _write(
    api: TensorRT, draft: EngineCard, plan: Any, destination: Path, folder: Path | None, notes: list[str]
) -> EngineCard:
    """Check the finished plan, then write it with its card, and keep a copy in the cache."""
    card = _inspected(api, draft, plan)
    build_cache.place(destination, card, lambda partial: partial.write_bytes(memoryview(plan)))
    if folder:
        try:
            build_cache.store(folder, draft, destination, card)
        except OSError as error:  # the engine itself is written; a full disk or a read-only home costs only the copy
            notes.append(f"not kept in the cache {folder}: {error}")
    return card


_NOT_INSPECTED = (
    "built without its GPU: layer types and precisions are those of the network given to the builder, not read from "
    "the finished engine; the engine has not been run"
)


def _builds_for(api: TensorRT, targets: tuple[str, ...]) -> GpuFacts | None:
    """The GPU that the build needs; None if it needs none. Raises BackendError if that cannot be."""
    if targets and not api.can_target:
        raise BackendError(
            f"--target is for TensorRT-RTX: {api.flavour} {api.version} builds for the GPU it runs on. "
            f"{trt_api.INSTALL['tensorrt_rtx']}"
        )
    if targets:
        return None
    gpu = gpu_facts()
    if gpu is None and not api.can_target:
        raise BackendError(
            f"{api.flavour} {api.version} builds on the GPU that will run the engine, and none can be used here. "
            "Run this on that machine (driver and cuda-python installed: `cornernet doctor`), or build for it with "
            "TensorRT-RTX: --target sm_89"
        )
    return gpu


def _library(plugins: Path | Literal["auto"] | None, notes: list[str]) -> Path | None:
    if plugins != "auto":
        return plugins
    library = trt_api.find_plugin_library()
    if library is None:
        notes.append("no plugin library found: built from standard operators. " + trt_api.HOW_TO_GET_PLUGINS)
    return library


def _configure(
    api: TensorRT, builder: Any, profiles: tuple[Profile, ...], targets: tuple[str, ...], opt_level: int | None
) -> Any:
    """Builder settings. TF32 is off: a float32 file gives float32 boxes; who wants speed exports fp16."""
    trt = api.module
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if opt_level is not None:
        if not 0 <= opt_level <= 5:
            raise BackendError(f"--opt-level {opt_level}: expected 0 (fast build) to 5 (longest search)")
        config.builder_optimization_level = opt_level
    for profile in profiles:
        optimization = builder.create_optimization_profile()
        optimization.set_shape(INPUT, *((*shape, 3) for shape in (profile.min, profile.opt, profile.max)))
        if config.add_optimization_profile(optimization) < 0:
            raise BackendError(f"{api.flavour} {api.version} refuses the profile {profile}")
    if targets:
        _set_targets_rtx(api, config, targets)
    return config


def _set_targets_rtx(api: TensorRT, config: Any, targets: tuple[str, ...]) -> None:
    known = {
        "sm_" + name.removeprefix("SM"): value
        for name, value in api.module.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    unknown = [target for target in targets if target not in known]
    if unknown:
        raise BackendError(
            f"{api.flavour} {api.version} cannot build for {', '.join(unknown)}; it knows {', '.join(known)}."
        )
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        config.set_compute_capability(known[target], index)


def _flags(api: TensorRT, config: Any) -> tuple[str, ...]:
    flags = api.module.BuilderFlag.__members__.items()
    return tuple(sorted(name for name, flag in flags if config.get_flag(flag)))


def _build(
    api: TensorRT, parsed: Parsed, config: Any, timing_cache: Path | None, progress: Progress | None, notes: list[str]
) -> Any:
    """Run the builder. Returns the plan (IHostMemory)."""
    if timing_cache and not api.uses_timing_cache:
        notes.append(f"--timing-cache has no effect: {api.flavour} does not time kernels when it builds")
        timing_cache = None
    if timing_cache:
        content = timing_cache.read_bytes() if timing_cache.is_file() else b""
        if not config.set_timing_cache(config.create_timing_cache(content), False):
            notes.append(f"{timing_cache} was written by another TensorRT or GPU: started anew")
            config.set_timing_cache(config.create_timing_cache(b""), False)
    with api.logger.collect() as errors:
        plan = run_watched(
            api, config, progress, lambda: parsed.builder.build_serialized_network(parsed.network, config)
        )
    if plan is None:
        raise BackendError(
            f"{api.flavour} {api.version} could not build the engine: {' '.join(errors) or 'no reason given'}. "
            "If memory ran out, give a smaller --profile. If an operation is not supported, try another --target."
        )
    if timing_cache:
        timings = bytes(config.get_timing_cache().serialize())
        write_whole(timing_cache, lambda partial: partial.write_bytes(timings))
    return plan


def _inspected(api: TensorRT, draft: EngineCard, plan: Any) -> EngineCard:
    """Check the finished plan as far as this machine can read it; its card with what was found."""
    view = memoryview(plan)
    file = FileFacts(name=draft.engine.name, sha256=hashlib.sha256(view).hexdigest(), bytes=view.nbytes)
    if draft.gpu is None:
        check_plan_names(view, draft.operators)
        return draft.model_copy(update={"engine": file})
    facts = engine_facts(api, plan)
    check_engine(facts, draft.card.precision, draft.operators, draft.engine.name)
    if not facts.layers:
        return draft.model_copy(update={"engine": file})
    found = {"layers": facts.layers, "precisions": facts.precisions, "inspected": "engine"}
    return draft.model_copy(update={"engine": file, **found})
