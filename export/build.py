"""ONNX -> TensorRT engine. The precision is the file's own (strongly typed); nothing here changes a number.

    parse (parse_network.py) -> check precision and profiles -> build -> inspect (inspect_engine.py) -> write with card

Built engines are found again by content (build_cache.py).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cornernet.engine.backends import trt_api
from cornernet.engine.backends.cuda_runtime import gpu_facts
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, Profile
from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.errors import BackendError
from cornernet.engine.whole_file import write_whole
from cornernet.export import build_cache
from cornernet.export.build_config import BuilderChoices, configure, flags_of
from cornernet.export.build_progress import Progress, run_watched
from cornernet.export.inspect_engine import (
    check_plan_names,
    check_precision,
    doubts_about,
    engine_facts,
    network_facts,
)
from cornernet.export.parse_network import Parsed, declare_float, parse, read_onnx
from cornernet.export.profiles import batch_profiles, check_profiles, default_profile


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
    workspace_mb: int | None = None,
    aux_streams: int | None = None,
    version_compatible: bool = False,
    embed_plugins: bool = False,
    float_canvases: bool = False,
    hardware: str = "none",
    batches: Sequence[int] = (),
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
        workspace_mb: MiB of GPU memory that a layer may compute in; None: all there is.
        aux_streams: streams beside the main one on which independent layers run; None: TensorRT decides.
        version_compatible: the engine runs on later versions of TensorRT too; slower.
        embed_plugins: the library travels in the engine (version compatible too), for programs that cannot load it.
        float_canvases: of a CornerNet-Saccade, float32 ones in place of uint8: interpolated and never rounded, as the
            official code has them.
        hardware: "ampere_plus", "same_compute_capability": runs on these GPUs too, slower; "none": this GPU.
        batches: without `profiles`, one profile for each of these batch sizes, see `batch_profiles`.
        targets: TensorRT-RTX: compute capabilities to build for ("sm_89"); none: what the flavour does by default.
        flavour: "tensorrt" | "tensorrt_rtx"; None: the first that is installed.
        progress: told about TensorRT's phases.
        cache: folder of built engines; None: build in any case.

    Raises ModelError: the file, its card, a profile or the precision is wrong. BackendError: TensorRT, GPU or plugin
    library missing, or the build failed. KeyboardInterrupt: Ctrl-C, also in the middle of a build; nothing is written.
    """
    began = time.perf_counter()
    source, destination = Path(onnx), Path(output)
    choices = BuilderChoices(
        tuple(targets), opt_level, workspace_mb, aux_streams, version_compatible, embed_plugins, hardware.lower()
    )
    notes: list[str] = []
    model, card = read_onnx(source)
    if float_canvases:
        declare_float(model, card, source)
    api = trt_api.load(flavour or ("tensorrt_rtx" if choices.targets else None))
    gpu = _builds_for(api, choices.targets)
    library = _library(plugins, notes)

    parsed = parse(api, model, source, api.load_plugins(library) if library else ())
    del model  # up to 800 MB, which the builder may need
    if library and not parsed.operators:
        notes.append(f"{source.name} holds none of the library's operators (exported with --inline?): no plugins")
        library = None
    shape = tuple(parsed.network.get_input(0).shape)
    chosen = tuple(Profile.parse(p) if isinstance(p, str) else p for p in profiles)
    chosen = chosen or (batch_profiles(card, shape, batches) if batches else (default_profile(card, shape),))
    check_profiles(card, parsed.network, chosen)
    facts = network_facts(api, parsed.network)
    check_precision(facts, card.precision, source.name)
    config = configure(api, parsed.builder, chosen, choices, library)
    draft = EngineCard(
        card=card,
        engine=FileFacts(name=destination.name, sha256="", bytes=0),
        onnx=FileFacts.of(source),
        plugins=FileFacts.of(library) if library else None,
        operators=parsed.operators,
        flavour=api.flavour,  # type: ignore[arg-type]
        version=api.version,
        gpu=gpu,
        targets=choices.targets,
        embeds_plugins=choices.embed_plugins,
        float_canvases=float_canvases,
        hardware=choices.hardware.upper(),
        workspace_mb=workspace_mb,
        aux_streams=aux_streams,
        profiles=chosen,
        opt_level=config.builder_optimization_level,
        flags=flags_of(api, config),
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
    card = _inspected(api, draft, plan, notes)
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


def _inspected(api: TensorRT, draft: EngineCard, plan: Any, notes: list[str]) -> EngineCard:
    """Check the finished plan as far as this machine can read it; its card with what was found."""
    view = memoryview(plan)
    file = FileFacts(name=draft.engine.name, sha256=hashlib.sha256(view).hexdigest(), bytes=view.nbytes)
    check_plan_names(view, draft.operators)
    card = draft.model_copy(update={"engine": file})
    if draft.gpu is None:
        return card
    facts, scratch = engine_facts(api, plan)
    notes += doubts_about(facts, draft.card.precision, draft.operators)
    card = card.model_copy(update={"scratch_bytes": scratch})
    if not facts.layers:
        return card
    return card.model_copy(
        update={"layers": facts.layers, "precisions": facts.precisions, "inspected": "engine"},
    )
