"""How much memory a model takes while it is opened, in each runtime of the CPU: the peak of a fresh process.

    python -m cornernet.benchmarks.opening_memory squeeze hourglass-104 --json opening_memory.json

A model is an ONNX file, or a preset with random weights, opened in a process of its own. Linux alone counts such peaks.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cornernet.engine.errors import BackendError

if TYPE_CHECKING:
    from cornernet.engine.backends.open import Precision, Runtime

MODULE = "cornernet.benchmarks.opening_memory"
RUNTIMES: dict[str, tuple[Runtime, Precision]] = {
    "ONNX Runtime": ("onnxruntime", "fp32"),
    "OpenVINO": ("openvino", "fp32"),
    "OpenVINO, bf16": ("openvino", "bf16"),
}
"""Name -> our `runtime` and `precision`."""


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
                memory = in_process(MODULE, runtime, path, [], limit_s=600)
                found.append({"name": path.stem, "file": path.stat().st_size, "runtime": runtime, **memory})
    return {"machine": machine_facts(), "openings": found}


def open_here(runtime: str, path: Path) -> dict[str, float]:
    """imports, peak, kept: bytes of this process's memory with the runtime imported, at most, and with the model open.

    seconds: of opening. Raises BackendError where the system does not count them.
    """
    name, precision = RUNTIMES[runtime]
    from cornernet.engine.backends.open import open_backend

    importlib.import_module(f"cornernet.engine.backends.{name}")
    imports = counted_bytes("VmHWM")
    start = time.perf_counter()
    backend = open_backend(path, runtime=name, precision=precision, device="cpu")
    seconds = time.perf_counter() - start
    found = {"imports": imports, "peak": counted_bytes("VmHWM"), "kept": counted_bytes("VmRSS"), "seconds": seconds}
    backend.close()
    return found


def counted_bytes(field: str) -> int:
    """VmHWM: the most memory that this process had so far, without its parent's as in `getrusage`; VmRSS: what it has.

    Raises BackendError where the system does not count them.
    """
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
    """The command of the module's docstring."""
    from cornernet.benchmarks.model_command import run_command

    return run_command(MODULE, __doc__, measure, render, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in RUNTIMES:
        runtime, file = sys.argv[1:]
        print(json.dumps(open_here(runtime, Path(file))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
