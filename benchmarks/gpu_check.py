"""Everything that needs a GPU, in one command: build, tests, sanitizers, kernel and stage benchmarks, one report.

    python -m cornernet.benchmarks.gpu_check [--output FOLDER] [--models FILE ...] [--skip PART ...]

Writes <gpu>-<date>.json and .md. Every part is a command of its own that can be repeated by hand: the report holds
it, its exit code, its time and the end of its output. A part whose software is missing is named as not run, with what
it needs. Exit code 0 if all that ran passed, 1 if something failed, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cornernet.engine.machine import machine_facts
from cornernet.plugins.driver import Driver, DriverError

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
NO_GPU = 2
# Address errors, uninitialised reads, and races in shared memory; each makes the tests ten to a hundred times slower,
# so the shapes of the oracle tests are enough.
SANITIZERS = ("memcheck", "racecheck", "initcheck")
SANITIZED_TESTS = "matches_the_oracle or match_the_oracle"


@dataclass(frozen=True)
class Part:
    """A named command, and what must be there to run it: programs on the path, Python modules, files."""

    name: str
    command: list[str]
    needs: list[str] = field(default_factory=list)
    timeout_s: int = 3600


@dataclass(frozen=True)
class Outcome:
    """status: passed | failed | not run. `why` names what is missing; `output` is the end of what the command said."""

    name: str
    status: str
    command: str
    seconds: float = 0.0
    why: str = ""
    output: str = ""


def parts(models: list[Path], work: Path) -> Iterator[Part]:
    """In the order they run: the library first, because all others use it. Asked for one by one, as files appear."""
    python = sys.executable
    yield Part("configure plugins", ["cmake", "-S", str(ROOT), "-B", str(BUILD)], ["cmake", "nvcc"])
    yield Part("build plugins", ["cmake", "--build", str(BUILD), "--parallel"], ["cmake", "nvcc"])
    yield Part("host tests", ["ctest", "--test-dir", str(BUILD), "--output-on-failure"], ["ctest", "nvcc"])
    yield Part("gpu tests", [python, "-m", "pytest", "tests", "-m", "gpu and not slow", "-q"], ["module pytest"])
    kernel_tests = [python, "-m", "pytest", "tests/plugins", "-m", "gpu", "-q", "-k", SANITIZED_TESTS]
    for tool in SANITIZERS:
        sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--target-processes", "all"]
        yield Part(f"sanitizer {tool}", [*sanitizer, *kernel_tests], ["compute-sanitizer", "module pytest"])
    yield Part("kernel benchmark", [python, "-m", "cornernet.benchmarks.kernels", "--json", str(work / "kernels.json")])
    folder = work / "models"
    if not models:
        making = [python, "-m", "cornernet.benchmarks.untrained_models", str(folder)]
        yield Part("models with random weights", making, ["module torch", "module onnxruntime"])
        models = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".onnx", ".engine"))
    options = ["--batch", "1,8,16", "--size", "511x511", "--torch-compile", "-o", str(work / "stages")]
    stages = [python, "-m", "cornernet", "benchmark", *map(str, models), *options]
    yield Part("stage benchmark", stages, [f"file {model}" for model in models] or ["models: name some with --models"])


def missing(needs: list[str]) -> list[str]:
    """Those needs that this machine does not meet."""
    absent = []
    for need in needs:
        kind, _, name = need.partition(" ")
        if kind == "module":
            met = importlib.util.find_spec(name) is not None
        elif kind == "file":
            met = Path(name).is_file()
        else:
            met = shutil.which(need) is not None
        if not met:
            absent.append(need)
    return absent


def run_part(part: Part) -> Outcome:
    command = " ".join(part.command)
    absent = missing(part.needs)
    if absent:
        return Outcome(part.name, "not run", command, why="needs " + ", ".join(absent))
    started = time.monotonic()
    try:
        ran = subprocess.run(
            part.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=part.timeout_s
        )
        status, output = "passed" if ran.returncode == 0 else "failed", ran.stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        status, output = "failed", f"{said}\nstopped after {part.timeout_s} s"
    return Outcome(part.name, status, command, time.monotonic() - started, output=output[-6000:])


def verdict(outcome: Outcome) -> str:
    """The line of a command's output that says it all: pytest's count, the sanitizer's summary."""
    if outcome.status == "not run":
        return outcome.why
    found = re.findall(
        r"^.*(?:passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|tests passed).*$", outcome.output, re.MULTILINE
    )
    return found[-1].strip("= ") if found else ""


def markdown(gpu: str, outcomes: list[Outcome], kernel_table: str) -> str:
    lines = [f"# {gpu}", "", "| part | status | seconds | |", "|---|---|---:|---|"]
    lines += [f"| {each.name} | {each.status} | {each.seconds:.0f} | {verdict(each)} |" for each in outcomes]
    return "\n".join([*lines, "", kernel_table, ""])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run everything that needs a GPU and write one report.")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="files for the stage benchmark")
    parser.add_argument("--skip", nargs="*", default=[], help="parts to leave out, by the first word of their name")
    options = parser.parse_args(arguments)
    try:
        with Driver() as device:
            gpu, capability = device.device_name, device.compute_capability()
    except DriverError as error:
        print(f"gpu-check needs an NVIDIA GPU: {error}", file=sys.stderr)
        return NO_GPU

    work = BUILD / "gpu_check"
    work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("CORNERNET_PLUGINS_LIBRARY", str(BUILD / "libcornernet_plugins.so"))
    outcomes = []
    for part in parts(options.models, work):
        if part.name.split()[0] in options.skip:
            outcomes.append(Outcome(part.name, "not run", " ".join(part.command), why="left out with --skip"))
        else:
            print(f"{part.name} ...", flush=True)
            outcomes.append(run_part(part))
        print(f"{part.name}: {outcomes[-1].status}  {verdict(outcomes[-1])}", flush=True)

    report: dict[str, Any] = {
        "machine": machine_facts(),
        "gpu": gpu,
        "compute_capability": list(capability),
        "parts": [asdict(outcome) for outcome in outcomes],
    }
    for name, file in [("kernels", work / "kernels.json"), ("stages", work / "stages" / "benchmark.json")]:
        if file.is_file():
            report[name] = json.loads(file.read_text(encoding="utf-8"))
    kernel_output = next((each.output for each in outcomes if each.name == "kernel benchmark"), "")
    options.output.mkdir(parents=True, exist_ok=True)
    stem = f"{re.sub('[^a-z0-9]+', '-', gpu.lower()).strip('-')}-{time.strftime('%Y-%m-%d')}"
    (options.output / f"{stem}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (options.output / f"{stem}.md").write_text(markdown(gpu, outcomes, kernel_output), encoding="utf-8")
    print(f"written: {options.output / stem}.json and .md")
    return 1 if any(outcome.status == "failed" for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
