"""Settings of TensorRT's builder: what a user may choose, and how it is said to the builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cornernet.engine.backends.engine_card import Profile
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import INPUT

HARDWARE = ("none", "ampere_plus", "same_compute_capability")


class BuilderChoices(NamedTuple):
    """What decides the plan beside the network and its profiles; see `build_engine`."""

    targets: tuple[str, ...] = ()
    opt_level: int | None = None
    workspace_mb: int | None = None
    aux_streams: int | None = None
    version_compatible: bool = False
    embed_plugins: bool = False
    hardware: str = "none"


def configure(
    api: TensorRT, builder: Any, profiles: tuple[Profile, ...], choices: BuilderChoices, library: Path | None
) -> Any:
    """Builder settings. TF32 is off: a float32 file gives float32 boxes; who wants speed exports fp16.

    Raises BackendError for a choice outside its range or one that this TensorRT does not have.
    """
    trt = api.module
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if choices.opt_level is not None:
        config.builder_optimization_level = _within(choices.opt_level, 0, 5, "opt-level", "0 builds fast, 5 slowly")
    if choices.workspace_mb is not None:
        megabytes = _within(choices.workspace_mb, 1, 1 << 20, "workspace", "MiB that a layer may use to compute in")
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, megabytes << 20)
    if choices.aux_streams is not None:
        config.max_aux_streams = _within(choices.aux_streams, 0, 16, "aux-streams", "0 runs all layers one by one")
    if choices.version_compatible or choices.embed_plugins:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if choices.embed_plugins:
        if library is None:
            raise BackendError("--embed-plugins: there is no plugin library to embed, or the file needs none of it.")
        config.plugins_to_serialize = [str(library.resolve())]
    if choices.hardware not in HARDWARE:
        raise BackendError(f"--hardware {choices.hardware}: expected one of {', '.join(HARDWARE)}.")
    if choices.hardware != "none":
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[choices.hardware.upper()]
    for profile in profiles:
        optimization = builder.create_optimization_profile()
        optimization.set_shape(INPUT, *((*shape, 3) for shape in (profile.min, profile.opt, profile.max)))
        if config.add_optimization_profile(optimization) < 0:
            raise BackendError(f"{api.flavour} {api.version} refuses the profile {profile}")
    if choices.targets:
        _set_targets_rtx(api, config, choices.targets)
    return config


def _within(value: int, smallest: int, largest: int, option: str, meaning: str) -> int:
    if smallest <= value <= largest:
        return value
    raise BackendError(f"--{option} {value}: expected {smallest} to {largest} ({meaning}).")


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


def flags_of(api: TensorRT, config: Any) -> tuple[str, ...]:
    """Names of the builder's flags that are set."""
    flags = api.module.BuilderFlag.__members__.items()
    return tuple(sorted(name for name, flag in flags if config.get_flag(flag)))
