"""Build a TensorRT engine from an exported ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable

EXAMPLES = """
cornernet build model.onnx -o model.engine
# one tight profile (images x height x width) needs less memory and is faster
cornernet build model.onnx -o model.engine --profile 1x512x512,4x512x512,8x512x512
# a profile for each batch size, each with kernels of its own
cornernet build model.onnx -o model.engine --batches 1,8,16
# standard operators only: the engine then needs no library of ours
cornernet build model.onnx -o model.engine --plugins none
# a CornerNet-Saccade that gives every box of the official code under --protocol official
cornernet build saccade.onnx -o saccade.engine --float-canvases
# without a GPU, for another machine's GPU (TensorRT-RTX)
cornernet build model.onnx -o model.engine --target sm_89 --target sm_120
"""


def run(
    model: Annotated[Path, typer.Argument(help="ONNX file of `cornernet export`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Engine to write; MODEL.engine if left out.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="min,opt,max input shapes, each images x height x width; may be given several times."),
    ] = None,
    plugins: Annotated[
        str, typer.Option(help="Our plugin library: a file, 'auto' (if it is found) or 'none' (standard operators).")
    ] = "auto",
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of kernel timings, read and updated; speeds up later builds.")
    ] = None,
    opt_level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds fast, 5 searches longest; TensorRT's default is 3.")
    ] = None,
    batches: Annotated[
        str | None, typer.Option(help="Batch sizes, e.g. 1,8,16: a profile for each, tuned apart; not with --profile.")
    ] = None,
    workspace: Annotated[int | None, typer.Option(min=1, help="GPU memory that a layer may compute in [MiB].")] = None,
    aux_streams: Annotated[
        int | None, typer.Option(min=0, max=16, help="Streams for layers that may run beside others.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Run on later versions of TensorRT too; slower.")
    ] = False,
    embed_plugins: Annotated[
        bool, typer.Option("--embed-plugins", help="Put the plugin library into the engine, for Triton or trtexec.")
    ] = False,
    float_canvases: Annotated[
        bool,
        typer.Option("--float-canvases", help="A CornerNet-Saccade's canvases are not rounded, as officially."),
    ] = False,
    hardware: Annotated[
        str, typer.Option(help="GPUs beside this one: none, ampere_plus or same_compute_capability; slower.")
    ] = "none",
    target: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT-RTX: compute capability to build for, e.g. sm_89; needs no GPU."),
    ] = None,
    flavour: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt_rtx; default: the first that is installed.")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Reuse an engine built before from the same contents.")] = True,
) -> None:
    """Build a TensorRT engine. The precision is the ONNX file's own; MODEL.engine.json is written beside the engine."""
    from cornernet.outputs import anything, carries_card, check_outputs, json_starting_with
    from cornernet.terminal import make_console

    engine = output or model.with_suffix(".engine")
    library = None if plugins == "none" else "auto" if plugins == "auto" else Path(plugins)
    # The cache of timings is the builder's to check: it is read before it is written.
    written = {engine: carries_card, engine.with_name(f"{engine.name}.json"): json_starting_with("format")}
    check_outputs(written | ({timing_cache: anything} if timing_cache else {}), [model, *_file(library)])
    from cornernet.export.build import build_engine

    console = make_console()
    with _RichProgress(console) as progress:
        report = build_engine(
            model,
            engine,
            profiles=profile or (),
            plugins=library,  # type: ignore[arg-type]
            timing_cache=timing_cache,
            opt_level=opt_level,
            workspace_mb=workspace,
            aux_streams=aux_streams,
            version_compatible=version_compatible,
            embed_plugins=embed_plugins,
            float_canvases=float_canvases,
            hardware=hardware,
            batches=_sizes(batches),
            targets=target or (),
            flavour=flavour,
            progress=progress,
            cache="default" if cache else None,
        )
    card = report.card
    how = "taken from the cache" if report.cached else f"built in {report.seconds:.1f} s"
    console.print(f"{printable(report.path)}  {card.engine.bytes / 1e6:.1f} MB, {how} by {card.flavour} {card.version}")
    console.print(f"  for        {card.gpu.name if card.gpu else ', '.join(card.targets) or 'any GPU of this flavour'}")
    console.print(f"  profiles   {'; '.join(map(str, card.profiles))}")
    console.print(f"  precision  {card.card.precision}: {_counted(card.precisions)} ({card.inspected})")
    console.print(f"  plugins    {_counted(card.operators) or 'none: standard operators'}")
    if card.scratch_bytes:
        largest = ", ".join(f"{size / 1e6:.0f}" for size in card.scratch_bytes)
        console.print(f"  memory     weights {card.engine.bytes / 1e6:.0f} MB, up to {largest} MB per batch in flight")
    for note in report.notes:
        console.print(f"  note: {note}", style="yellow")


def _sizes(batches: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in batches.split(",")) if batches else ()
    except ValueError as error:
        raise typer.BadParameter(f"--batches {batches}: expected numbers, e.g. 1,8,16") from error


def _file(library: Path | str | None) -> list[Path]:
    return [library] if isinstance(library, Path) else []


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


class _RichProgress:
    """TensorRT's nested phases as nested bars; a phase's bar goes when the phase ends."""

    def __init__(self, console: object) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console, transient=True)  # type: ignore[arg-type]
        self._phases: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "_RichProgress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        depth = self._phases[parent][1] + 1 if parent in self._phases else 0
        self._phases[phase] = (self._bars.add_task("  " * depth + phase, total=steps), depth)

    def step(self, phase: str, step: int) -> None:
        if phase in self._phases:
            self._bars.update(self._phases[phase][0], completed=step + 1)  # type: ignore[arg-type]

    def finish(self, phase: str) -> None:
        if phase in self._phases:
            self._bars.remove_task(self._phases.pop(phase)[0])  # type: ignore[arg-type]
