"""What gpu_check runs: each part a command that can be repeated by hand, the most valuable first."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "plugins" / "kernels"
LIBRARY = ROOT / "build" / "gpu_check" / "libcornernet_plugins.so"
COMMANDS = ("kernels", "network", "counters", "tensorrt")
COUNTERS = ("dram__bytes.sum", "dram__throughput.avg.pct_of_peak_sustained_elapsed", "gpu__time_duration.sum")
SMALL_WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection")
"""What a machine with torch and CUDA may lack; `pip download --only-binary=:all: pydantic` brings them all."""


@dataclass(frozen=True)
class Part:
    """A named command. tool: put before it, left out in a rehearsal; needs: programs, "module x", "provider x" of
    ONNX Runtime, "file x".

    seconds: what it may take; a part that does not fit into the time left is dropped. rows: a file of measurements.
    """

    name: str
    command: list[str]
    seconds: int
    needs: list[str] = field(default_factory=list)
    tool: list[str] = field(default_factory=list)
    rows: Path | None = None


def parts(command: str, folder: Path, *, architecture: str, rehearse: bool) -> list[Part]:
    """Of one of COMMANDS. folder: for what they write; architecture: of the GPU at hand, "90"."""
    made = {"kernels": _kernels, "network": _network, "counters": _counters, "tensorrt": _tensorrt}
    return made[command](folder, architecture, rehearse)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"cornernet.benchmarks.{name}", *arguments]


def _build(architecture: str, rehearse: bool) -> Part:
    """Only for the architecture at hand, by nvcc alone: half a minute, and no CMake is needed."""
    if rehearse:
        return Part("build", _module("kernel_checks", "--emulated", "--repeat", "0"), 120, ["g++"])
    nvcc = ["nvcc", "-std=c++17", "-O3", f"-arch=sm_{architecture}", "--threads=0", "-shared"]
    flags = ["-Xcompiler=-fPIC,-fvisibility=hidden", "-cudart=static", "-o", str(LIBRARY)]
    return Part("build", [*nvcc, *flags, *map(str, sorted(KERNELS.glob("*.cu")))], 120, ["nvcc"])


def _kernels(folder: Path, architecture: str, rehearse: bool) -> list[Part]:
    emulated = ["--emulated", "--few"] if rehearse else []
    checked, dispatched, timed, placed = (
        folder / f"{name}.json" for name in ("checks", "operators", "kernels", "placing")
    )
    rehearsal = ["--rehearse"] if rehearse else []
    memcheck = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"]
    return [
        _build(architecture, rehearse),
        Part(
            "references",
            _module("kernel_checks", *emulated, "--json", str(checked)),
            120,
            rows=checked,
        ),
        Part(
            "operators in torch",
            _module("torch_operators", *rehearsal, "--json", str(dispatched)),
            150,
            ["module torch"],
            rows=dispatched,
        ),
        Part("kernel times", _module("kernels", *rehearsal, "--json", str(timed)), 120, rows=timed),
        Part("placing times", _module("placing_times", *rehearsal, "--json", str(placed)), 60, rows=placed),
        Part(
            "memcheck",
            _module("kernel_checks", "--few", *emulated[:1]),
            90,
            [memcheck[0]],
            memcheck,
        ),
    ]


def _network(folder: Path, architecture: str, rehearse: bool) -> list[Part]:
    rehearsal = ["--rehearse"] if rehearse else []

    def of(what: str, seconds: int) -> Part:
        rows = folder / f"{what}.json"
        command = _module("torch_networks", what, "--json", str(rows), "--seconds", str(seconds), *rehearsal)
        return Part(what, command, seconds + 60, ["module torch"], rows=rows)

    images = _device_images(
        "tiny" if rehearse else "squeeze", folder / "device-images.json", ["module torch"], rehearsal
    )
    crops = _device_images("saccade-tiny", folder / "device-crops.json", ["module torch"], rehearsal)
    return [_build(architecture, rehearse), of("peak", 20), of("pipeline", 60), images, crops, of("networks", 200)]


def _device_images(model: str, rows: Path, needs: list[str], options: list[str]) -> Part:
    command = _module("device_images", model, "--json", str(rows), "--seconds", "60", *options)
    return Part(rows.stem.replace("-", " "), command, 120, needs, rows=rows)


def _counters(folder: Path, architecture: str, rehearse: bool) -> list[Part]:
    emulated = ["--emulated"] if rehearse else []
    few = _module("kernel_checks", "--few", *emulated)
    once = few if rehearse else _module("kernel_checks")
    ncu = ["ncu", "--csv", "--metrics", ",".join(COUNTERS), "--launch-count", "60"]
    sanitizer = ["compute-sanitizer", "--error-exitcode", "9", "--tool"]
    return [
        _build(architecture, rehearse),
        Part("profiler counters", once, 90, ["ncu"], ncu),
        Part("racecheck", few, 90, [sanitizer[0]], [*sanitizer, "racecheck"]),
        Part("initcheck", few, 90, [sanitizer[0]], [*sanitizer, "initcheck"]),
        Part("repeats", [*once, "--repeat", "1" if rehearse else "2"], 60),
    ]


def _tensorrt(folder: Path, architecture: str, rehearse: bool) -> list[Part]:
    models = folder / "models"
    needs = ["module tensorrt", "module cuda", "module onnx", "module onnxscript"]
    on_cuda = ["provider CUDAExecutionProvider", *needs[1:]]
    timed = folder / "engines.json"
    made = [str(models / f"{preset}-fp16.engine") for preset in ("squeeze", "hourglass-104")]
    return [
        _build(architecture, rehearse),
        Part("models and engines", _module("untrained_models", str(models)), 300, needs),
        _device_images(str(models / "tiny.engine"), folder / "engine-images.json", needs, []),
        _device_images(str(models / "tiny.onnx"), folder / "onnxruntime-images.json", on_cuda, []),
        Part("engine times", _module("engine_times", *made, "--json", str(timed)), 60, needs[:2], rows=timed),
    ]


def missing(needs: list[str]) -> list[str]:
    """Those needs that this machine does not meet."""
    absent = []
    for need in needs:
        kind, _, name = need.partition(" ")
        if kind == "module":
            met = importlib.util.find_spec(name) is not None
        elif kind == "provider":
            met = importlib.util.find_spec("onnxruntime") is not None and name in _providers()
        elif kind == "file":
            met = Path(name).is_file()
        else:
            met = shutil.which(need) is not None
        if not met:
            absent.append(need)
    return absent


def _providers() -> list[str]:
    """Of the ONNX Runtime that is installed."""
    import onnxruntime

    found: list[str] = onnxruntime.get_available_providers()
    return found
