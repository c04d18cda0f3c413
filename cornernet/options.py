"""What several verbs share: sizes, lists of numbers, key=value, one word of a few, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cornernet.terminal import is_terminal, make_console

if TYPE_CHECKING:
    from rich.progress import Progress

    from cornernet.engine.backends import Backend

Number = TypeVar("Number", int, float)

MERGE_EXPONENT = 10
"""`weight_exp` of the official multi-scale configuration."""

PROTOCOLS = ("default", "official", "mmdetection")
"""Names of engine/protocol.py, written again because help must not import the engine; a test compares them."""


RUNTIMES = ("auto", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "fp16", "bf16", "auto")
"""Those of engine/backends/open.py, likewise."""


def parse_size(text: str | None) -> tuple[int, int] | None:
    """'HEIGHTxWIDTH' [px] -> (height, width); one number is a square. Raises BadParameter (exit code 2)."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x") if "x" in text.lower() else (text, "", text)
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise typer.BadParameter(f"size is {text!r}; expected HEIGHTxWIDTH in pixels, such as 384x512, or one number")
    return int(height), int(width)


def parse_threshold(text: str | None) -> float | dict[str, float] | None:
    """'0.4' -> 0.4; 'RBC=.35,WBC=.3' -> a number for each of these classes. Raises BadParameter (exit code 2)."""
    if text is None:
        return None
    numbers: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            numbers[name.strip()] = -1
    if not all(0 <= number <= 1 for number in numbers.values()) or ("" in numbers and len(numbers) > 1):
        raise typer.BadParameter(
            f"threshold is {text!r}; expected a number from 0 to 1, or numbers of classes such as cat=0.35,dog=0.3"
        )
    return numbers.get("", numbers)


def parse_names(text: str | None) -> list[str] | None:
    """'cat,dog' -> ['cat', 'dog']; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_numbers(text: str, kind: Callable[[str], Number], name: str) -> tuple[Number, ...]:
    """'1,2,4' -> (1, 2, 4), all above 0. Raises BadParameter (exit code 2)."""
    try:
        numbers = tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{name} is {text!r}; expected numbers with commas between them") from error
    if not all(0 < number < float("inf") for number in numbers):
        raise typer.BadParameter(f"{name} is {text!r}; expected numbers above 0")
    return numbers


def parse_words(text: str | None, known: tuple[str, ...], name: str) -> tuple[str | None, ...]:
    """'a,b' -> ('a', 'b'), each one of `known`; (None,) if nothing was given. Raises BadParameter (exit code 2)."""
    if text is None:
        return (None,)
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in known:
            raise typer.BadParameter(f"{name}: {word!r} is not one of {', '.join(known)}")
    return words


def parse_assignment(text: str) -> tuple[str, Any]:
    """key=value with a TOML value; a bare word is taken as a string."""
    import tomllib

    key, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"--set {text!r}: expected key=value, such as learning_rate=0.001")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value


def one_of(*words: str) -> Callable[[str | None], str | None]:
    """A callback for `typer.Option`: the value must be one of `words`, or not given."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in words:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(words)}")
        return value

    return check


Model = Annotated[Path, typer.Argument(help=".onnx, .engine, or a .safetensors checkpoint (needs torch).")]
DatasetFolder = Annotated[
    Path, typer.Argument(help="Folder of a data set: COCO, Roboflow, YOLO (or its data.yaml), Pascal VOC.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures the model gets at once.")]
Threshold = Annotated[
    str | None,
    typer.Option(help="Lowest score that is kept; also per class, cat=.35,dog=.3. Default: the model's, else 0.3."),
]
ResizeRule = Annotated[
    str | None,
    typer.Option(
        callback=one_of("original", "fit"),
        help="original: keep the resolution. fit: scale to one canvas. Default: fit if --size is given, or if the "
        "training size is known and the protocol is default; original with the other protocols.",
    ),
]
CanvasSize = Annotated[str | None, typer.Option(help="Canvas for fit, HEIGHTxWIDTH or one side [px].")]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror", help="Run the mirrored view too and merge. Default: as the protocol (official: yes)."
    ),
]
Scales = Annotated[str, typer.Option(help="Run at these scales and join what was found.")]
MaxCrops = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Of a CornerNet-Saccade: windows of a picture that it looks at again; fewer are faster. Default: its own.",
    ),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Average each box with those it suppresses (official multi-scale test).")
]
RuntimeName = Annotated[
    str | None,
    typer.Option(
        callback=one_of(*RUNTIMES),
        help="Of a .onnx file. auto: the fastest here, measured when a file is first opened and remembered. "
        "Default: onnxruntime; openvino with --precision bf16.",
    ),
]
PrecisionName = Annotated[
    str | None,
    typer.Option(
        callback=one_of(*PRECISIONS),
        help="Of a .onnx file. bf16: in openvino, on CPUs that compute in it. auto: whichever is fastest. "
        "Default: as the file says. Of a checkpoint: what torch computes in.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Cores to use, for reading pictures and for a model that runs on the CPU. Default: all."),
]
DecodeMode = Annotated[
    str,
    typer.Option(
        callback=one_of("exact", "fast"),
        help="fast: with fit, a JPEG more than twice as large as its canvas is decoded at 1/2, 1/4 or 1/8.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; default: what the model's runtime chooses.")]
Plugins = Annotated[
    str | None,
    typer.Option(
        help="Of a TensorRT engine: the library of its operators, if not the installed one; or `engine` for those that "
        "it carries, whose code then runs here."
    ),
]
ProtocolName = Annotated[str, typer.Option(callback=one_of(*PROTOCOLS), help="default, official or mmdetection.")]


def detector_settings(
    *,
    protocol: str,
    resize: str | None,
    size: str | None,
    mirror: bool | None,
    scales: str,
    merge: bool,
    max_crops: int | None,
    runtime: str | None,
    precision: str | None,
    threads: int | None,
    device: str | None,
    plugins: str | None,
    decode: str,
) -> dict[str, Any]:
    """The shared options as arguments of `Detector`. Raises BadParameter (exit code 2)."""
    from cornernet.engine.reading.views import LARGEST_SCALE, SMALLEST_SCALE

    factors = parse_numbers(scales, float, "scales")
    if not all(SMALLEST_SCALE <= factor <= LARGEST_SCALE for factor in factors):
        raise typer.BadParameter(f"scales is {scales!r}; expected numbers from {SMALLEST_SCALE} to {LARGEST_SCALE:g}")
    if size is not None and resize == "original":
        raise typer.BadParameter("--size is the canvas of --resize fit; with --resize original there is none")
    return {
        "protocol": protocol,
        "mirror": mirror,
        "scales": factors,
        "max_crops": max_crops,
        "merge_exponent": MERGE_EXPONENT if merge else None,
        "size": parse_size(size),
        "resize": resize,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "device": device,
        "plugins": plugins,
        "decode": decode,
    }


def say_what_runs(backend: Backend) -> None:
    """One line on stderr if the runtime was chosen by measuring."""
    reason = getattr(backend, "reason", "")
    if reason:
        typer.echo(f"{backend.name}: {reason}", err=True)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on stderr, so that results on stdout can be piped; nothing where stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = make_console(stderr=True)
    shown = is_terminal(sys.stderr)
    bars = Progress(*columns, console=console, transient=True, disable=not shown)
    with bars if shown else nullcontext():  # older ones end with an empty line even when they show nothing
        yield bars
