"""What ONNX Runtime's options are worth on a CPU: as chosen, and with one of them the other way.

    python -m cornernet.benchmarks.session_options tiny squeeze --json session_options.json

A model is an ONNX file, or a preset with random weights. Each measurement is a process of its own, and the options take
turns: every round measures each of them once. Shown are medians over rounds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cornernet.benchmarks.latency.ladder_steps import in_process
from cornernet.benchmarks.latency.pictures import draw_picture, write_pictures
from cornernet.benchmarks.model_command import run_command
from cornernet.benchmarks.opening_memory import counted_bytes
from cornernet.benchmarks.untrained_models import exported
from cornernet.engine.detector import Detector
from cornernet.engine.machine import machine_facts

MODULE = "cornernet.benchmarks.session_options"
SIDE = 511
FILES = 16
BATCH = 8


def _set(key: str, value: str) -> Callable[[Any], None]:
    return lambda options: options.add_session_config_entry(key, value)


def _turn(name: str, value: bool) -> Callable[[Any], None]:
    return lambda options: setattr(options, name, value)


CHANGES: dict[str, Callable[[Any], None]] = {
    "as chosen": lambda _: None,
    "threads spin after a run too": _set("session.force_spinning_stop", "0"),
    "threads never spin": _set("session.intra_op.allow_spinning", "0"),
    "no arena": _turn("enable_cpu_mem_arena", False),
    "memory plan": _turn("enable_mem_pattern", True),
    "IO binding": lambda _: None,
}
"""Name -> what it does to the `SessionOptions` that the backend has made."""


def measure(models: Sequence[str], *, rounds: int = 3, runs: int = 5, side: int = SIDE) -> dict[str, Any]:
    """The report, JSON-ready. Raises CornerNetError if a file cannot be read or run."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        for model in models:
            file = exported(model, folder)
            once: dict[str, list[dict[str, float]]] = {change: [] for change in CHANGES}
            for _ in range(rounds):
                for change, so_far in once.items():
                    so_far.append(in_process(MODULE, change, file, [folder, side, runs], limit_s=600))
            rows = [
                {"change": change} | {key: median(turn[key] for turn in turns) for key in turns[0]}
                for change, turns in once.items()
            ]
            found.append({"name": file.stem, "rows": rows})
    settings = {"side": side, "rounds": rounds, "runs": runs, "files": FILES, "batch": BATCH}
    return {"machine": machine_facts(), "settings": settings, "models": found}


def measure_change(change: str, file: Path, pictures: Path, side: int, runs: int) -> dict[str, float]:
    """In this process. ms: one canvas (side, side) [px], uint8 to boxes; cpu_ms: of all threads, for it.
    images_per_s: from files, through the pipeline. peak_mib: of this process, what it imported included."""
    import onnxruntime as ort

    from cornernet.engine.backends import named_outputs
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

    class Changed(OnnxRuntimeBackend):
        def _open(self, options: ort.SessionOptions, providers: Any) -> ort.InferenceSession:
            CHANGES[change](options)
            return super()._open(options, providers)

    class Bound(Changed):
        def _run(self, canvases: Any, options: ort.RunOptions | None = None) -> Any:
            session = self._require_session()
            binding = session.io_binding()
            binding.bind_cpu_input(self.images.name, canvases)
            for name in self.card.detection_outputs:
                binding.bind_output(name)
            session.run_with_iobinding(binding, options)
            return named_outputs(binding.copy_outputs_to_cpu())

    backend = (Bound if change == "IO binding" else Changed)(file, providers=["CPUExecutionProvider"])
    canvas = draw_picture(np.random.default_rng(0), side, side)[None]
    backend.run(canvas)
    wall, cpu = [], []
    for _ in range(runs):
        start, before = time.perf_counter(), time.process_time()
        backend.run(canvas)
        wall.append((time.perf_counter() - start) * 1000)
        cpu.append((time.process_time() - before) * 1000)
    with Detector(backend, resize="fit", size=(side, side)) as detector:
        paths = sorted(pictures.glob("*.jpg"))
        chosen = [paths[place % len(paths)] for place in range(FILES)]
        detector.predict(chosen[:BATCH], batch_size=BATCH)
        start = time.perf_counter()
        detector.predict(chosen, batch_size=BATCH)
        images_per_s = FILES / (time.perf_counter() - start)
    return {
        "ms": median(wall),
        "cpu_ms": median(cpu),
        "images_per_s": images_per_s,
        "peak_mib": counted_bytes("VmHWM") / 2**20,
    }


def render(report: Mapping[str, Any]) -> str:
    """A Markdown table, one row per model and option."""
    settings = report["settings"]
    lines = [
        f"ONNX Runtime's options, one {settings['side']} x {settings['side']} view, and files through the pipeline in "
        f"batches of {settings['batch']} ({report['machine']['cpu']['model']}):",
        "",
        "| model | | ms | CPU [ms] | images/s | peak memory [MiB] |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for model in report["models"]:
        for row in model["rows"]:
            lines.append(
                f"| {model['name']} | {row['change']} | {row['ms']:.1f} | {row['cpu_ms']:.1f} "
                f"| {row['images_per_s']:.1f} | {row['peak_mib']:.0f} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring."""
    return run_command(MODULE, __doc__, measure, render, arguments, side=SIDE, rounds=3, runs=5)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in CHANGES:
        change, file, pictures, side, runs = sys.argv[1:]
        print(json.dumps(measure_change(change, Path(file), Path(pictures), int(side), int(runs))))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
