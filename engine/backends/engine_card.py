"""What is known about a built engine: `<name>.engine.json` beside the plan; and why a plan does not load.

The plan itself is plain TensorRT (trtexec and Triton load it); nothing of ours is put into it.
"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cornernet.engine.backends.gpu_facts import GpuFacts
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.whole_file import write_text_whole

Shape = tuple[int, int, int]
"""N, H, W: images, canvas height [px], canvas width [px]."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Frozen):
    """Input shapes an engine accepts (min to max) and the one it is tuned for (opt)."""

    min: Shape
    opt: Shape
    max: Shape

    @model_validator(mode="after")
    def _ordered(self) -> Profile:
        if any(not 1 <= low <= best <= high for low, best, high in zip(self.min, self.opt, self.max)):
            raise ValueError(f"profile {self} is not ordered: each of N, H, W must have 1 <= min <= opt <= max")
        return self

    def __str__(self) -> str:
        return ",".join("x".join(map(str, shape)) for shape in (self.min, self.opt, self.max))

    def holds(self, shape: Shape) -> bool:
        return all(low <= size <= high for low, size, high in zip(self.min, shape, self.max))

    @classmethod
    def parse(cls, text: str) -> Profile:
        """`1x512x512,4x512x512,8x512x512`: min, opt, max, each N x H x W. One shape alone is a fixed profile.

        Raises ModelError saying what is wrong with `text`.
        """
        parts = text.lower().replace(" ", "").split(",")
        try:
            shapes = [tuple(int(size) for size in part.split("x")) for part in parts]
            if len(shapes) not in (1, 3) or any(len(shape) != 3 for shape in shapes):
                counts = ", ".join(str(len(shape)) for shape in shapes)
                raise ValueError(f"{len(shapes)} shape(s), with {counts} sizes")
            low, best, high = shapes if len(shapes) == 3 else shapes * 3
            return cls(min=low, opt=best, max=high)  # type: ignore[arg-type]
        except ValueError as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise ModelError(
                f"profile {text!r}: {why}. Expected min,opt,max, each images x height x width, "
                "for example 1x512x512,4x512x512,8x512x512"
            ) from error


class FileFacts(_Frozen):
    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> FileFacts:
        with path.open("rb") as file:
            return cls(
                name=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size
            )


class EngineCard(_Frozen):
    """The sidecar. Flags and layer types are names, never numbers: TensorRT 11 renumbered them.

    plugins   the library the plan needs at run time, with the operators it uses; None: needs nothing
    gpu       where it was built and tuned; None for a build without a GPU
    targets   compute capabilities it was built for by name (TensorRT-RTX); empty: the flavour's default
    embeds_plugins  the library travels inside the plan
    hardware  the GPUs it runs on beside the one it was tuned on, as TensorRT names the group; NONE: no others
    scratch_bytes  memory that a batch of each profile's largest shape computes in, as the engine says
    float_canvases  its input is float32, so that interpolated canvases need no rounding; else uint8
    workspace_mb, aux_streams  limits given to the builder; None: TensorRT's own
    inspected "engine": layer types read from the finished engine; "network": from the network given to the builder,
              because reading an engine needs a GPU
    """

    format: Literal[1] = 1
    card: ModelCard
    engine: FileFacts
    onnx: FileFacts
    plugins: FileFacts | None = None
    operators: dict[str, int] = {}
    flavour: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    gpu: GpuFacts | None = None
    targets: tuple[str, ...] = ()
    embeds_plugins: bool = False
    float_canvases: bool = False
    hardware: str = "NONE"
    scratch_bytes: tuple[int, ...] = ()
    workspace_mb: int | None = None
    aux_streams: int | None = None
    profiles: tuple[Profile, ...] = Field(min_length=1)
    opt_level: int
    flags: tuple[str, ...] = ()
    layers: dict[str, int] = {}
    precisions: dict[str, int] = {}
    inspected: Literal["engine", "network"]

    def rebuild_command(self, engine: Path) -> str:
        """The command line that makes this engine again: every option that decides what is in the plan."""
        words = ["cornernet", "build", self.onnx.name, "-o", engine.name]
        for profile in self.profiles:
            words += ["--profile", str(profile)]
        if self.plugins is None:
            words += ["--plugins", "none"]
        for target in self.targets:
            words += ["--target", target]
        if self.embeds_plugins:
            words += ["--embed-plugins"]
        elif "VERSION_COMPATIBLE" in self.flags:
            words += ["--version-compatible"]
        if self.float_canvases:
            words += ["--float-canvases"]
        if self.hardware != "NONE":
            words += ["--hardware", self.hardware.lower()]
        for option, limit in (("--workspace", self.workspace_mb), ("--aux-streams", self.aux_streams)):
            words += [] if limit is None else [option, str(limit)]
        words += ["--opt-level", str(self.opt_level), "--flavour", self.flavour]
        return shlex.join(words)


def card_path(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def write_engine_card(engine: Path, card: EngineCard) -> None:
    """Atomic: a reader sees the old card or the new one."""
    write_text_whole(card_path(engine), card.model_dump_json(indent=1) + "\n")


def read_engine_card(engine: Path) -> EngineCard:
    """The sidecar of `engine`. Raises ModelError if plan or sidecar are missing, the sidecar is invalid, or the plan
    has another length than it says (a copy that broke off)."""
    if not engine.is_file():
        raise ModelError(f"no engine at {engine}. Build one: cornernet build MODEL.onnx -o {engine.name}")
    path = card_path(engine)
    if not path.is_file():
        raise ModelError(
            f"{path.name} is not beside {engine}. It holds the classes, colours and profiles; `cornernet build` writes "
            "it with the engine. Copy both files, or build again."
        )
    try:
        card = EngineCard.model_validate_json(path.read_bytes())
        size = engine.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}. Copy engine and card again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ModelError(
            f"{path}: not a valid engine card: {where}: {first['msg']}. Build the engine again with `cornernet build`."
        ) from error
    if size != card.engine.bytes:
        raise ModelError(
            f"{engine} has {size:,} bytes, but {path.name} was written for {card.engine.bytes:,}: the file is "
            f"truncated or was replaced. Copy it again, or: {card.rebuild_command(engine)}"
        )
    return card


def why_it_does_not_load(
    engine: Path,
    card: EngineCard,
    *,
    flavour: str,
    version: str,
    gpu: GpuFacts | None,
    library: Path | None,
    said: list[str],
) -> str:
    """One message from everything that differs between building and loading, TensorRT's own words, and the command
    that mends it. gpu: the device at hand. library: the plugin library loaded now."""
    reasons = []
    if flavour != card.flavour or version != card.version:
        reasons.append(f"built with {card.flavour} {card.version}, this is {flavour} {version}")
    if gpu and card.gpu and (gpu.name, gpu.compute_capability) != (card.gpu.name, card.gpu.compute_capability):
        reasons.append(
            f"built on {card.gpu.name} (compute capability {card.gpu.compute_capability}), this is {gpu.name} "
            f"({gpu.compute_capability})"
        )
    wanted = "sm_" + gpu.compute_capability.replace(".", "") if gpu else ""
    if gpu and card.targets and wanted not in card.targets:
        reasons.append(f"built for {', '.join(card.targets)}, this GPU is {wanted}")
    if card.plugins and library and FileFacts.of(library).sha256 != card.plugins.sha256:
        reasons.append(f"its plugin library was another build than {library}")
    if FileFacts.of(engine).sha256 != card.engine.sha256:
        reasons.append("its content is not what was built (sha256 differs)")
    known = "; ".join(reasons) or "nothing recorded differs from this machine"
    words = " ".join(said) or "no reason given"
    return f"{engine} does not load: {known}. TensorRT says: {words}. Build it again: {card.rebuild_command(engine)}"
