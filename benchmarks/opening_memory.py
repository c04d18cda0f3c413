"""How much memory a model takes while it is opened, in each runtime of the CPU: the peak of a fresh process.

    python -m cornernet.benchmarks.opening_memory squeeze hourglass-104 --json opening_memory.json

A model is an ONNX file, or a preset with random weights. `python -m cornernet.benchmarks.opening_memory RUNTIME FILE
--here` opens one in this process and prints a line of JSON; the command runs that. Linux alone counts such peaks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cornernet.engine.errors import BackendError, CornerNetError

if TYPE_CHECKING:
    from cornernet.engine.backends.open import Precision, Runtime

RUNTIMES: dict[str, tuple[Runtime, Precision]] = {
    "ONNX Runtime": ("onnxruntime", "fp32"),
    "OpenVINO": ("openvino", "fp32"),
    "OpenVINO, bf16": ("openvino", "bf16"),
}


def measure(models: Sequence[str]) -> dict[str, Any]:
    """The report, JSON-ready. Raises CornerNetError if a file cannot be made or opened."""
    from cornernet.benchmarks.latency.ladder_steps import in_process
    from cornernet.benchmarks.untrained_models import exported
    from cornernet.engine.machine import machine_facts

    found = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            path = exported(model, Path(folder))
            for runtime in RUNTIMES:
                memory = in_process("cornernet.benchmarks.opening_memory", runtime, path, ["--here"], limit_s=600)
                found.append({"name": path.stem, "file": path.stat().st_size, "runtime": runtime, **memory})
    return {"machine": machine_facts(), "openings": found}


def open_here(runtime: str, path: Path) -> dict[str, float]:
    """imports, peak, kept: bytes of this process's memory with the runtime imported, at most, and with the model open.

    seconds: of opening. Raises BackendError where the system does not count them.
    """
    name, precision = RUNTIMES[runtime]
    from cornernet.engine.backends.open import open_backend

    importlib.import_module(f"cornernet.engine.backends.{name}")
    imports = _bytes("VmHWM")
    start = time.perf_counter()
    backend = open_backend(path, runtime=name, precision=precision, device="cpu")
    seconds = time.perf_counter() - start
    found = {"imports": imports, "peak": _bytes("VmHWM"), "kept": _bytes("VmRSS"), "seconds": seconds}
    backend.close()
    return found


def _bytes(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise BackendError(f"this system does not count the peak of a process's memory: {error}. Use Linux.") from error
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def render(report: Mapping[str, Any]) -> str:
    """A Markdown table, a row for each model and runtime."""
    lines = [
        "Memory of a fresh process that opens a model [GB]; `imports`: before, with Python and the runtime imported:",
        "",
        "| model | file | runtime | imports | peak | kept | opened in |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in report["openings"]:
        sizes = {key: f"{row[key] / 1e9:.2f}" for key in ("file", "imports", "peak", "kept")}
        lines.append(
            f"| {row['name']} | {sizes['file']} | {row['runtime']} | {sizes['imports']} | {sizes['peak']} | "
            f"{sizes['kept']} | {row['seconds']:.1f} s |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The commands of the module's docstring; exit code 1 with a sentence if something cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m cornernet.benchmarks.opening_memory", description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    try:
        if given.here:
            runtime, path = given.models
            print(json.dumps(open_here(runtime, Path(path))))
            return 0
        report = measure(given.models)
        if given.json is not None:
            from cornernet.engine.whole_file import write_text_whole

            write_text_whole(given.json, json.dumps(report, indent=1) + "\n")
    except (CornerNetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
