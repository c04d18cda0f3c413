"""Our backends beside the runtimes as anybody uses them: one canvas, uint8 to boxes, the same file, the same threads.

    python -m cornernet.benchmarks.plain_runtimes tiny squeeze --json plain_runtimes.json

A model is an ONNX file, or a preset with random weights; a runtime that knows no ONNX functions gets the file with them
inlined (`cornernet export --inline`). Each measurement is a process of its own and ours and plain take turns; ratio is
the median over rounds of our time over the plain one of the same round.
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
from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.benchmarks.model_command import run_command
from cornernet.benchmarks.opening_memory import RUNTIMES
from cornernet.benchmarks.untrained_models import exported
from cornernet.engine.backends.open import open_backend
from cornernet.engine.machine import machine_facts

MODULE = "cornernet.benchmarks.plain_runtimes"
SIDE = 511
WARM_UPS = 2
Run = Callable[[np.ndarray], Any]


def measure(models: Sequence[str], *, rounds: int = 5, runs: int = 5, side: int = SIDE) -> dict[str, Any]:
    """The report, JSON-ready. Raises CornerNetError if a file cannot be read or run."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for model in models:
            file = exported(model, Path(name))
            rows = []
            for runtime in RUNTIMES:
                times: dict[str, list[float]] = {"plain": [], "ours": []}
                for turn in range(rounds):
                    for way in list(times)[:: 1 if turn % 2 else -1]:
                        words = [way, side, runs]
                        times[way].append(in_process(MODULE, runtime, file, words, limit_s=600)["ms"])
                ratios = [ours / plain for plain, ours in zip(times["plain"], times["ours"], strict=True)]
                rows.append(
                    {"runtime": runtime, "ratio": median(ratios)} | {way: median(ms) for way, ms in times.items()}
                )
            found.append({"name": file.stem, "rows": rows})
    return {"machine": machine_facts(), "settings": {"side": side, "rounds": rounds, "runs": runs}, "models": found}


def time_run(runtime: str, file: Path, way: str, side: int, runs: int) -> float:
    """In this process: of one canvas (side, side) [px], the median [ms]."""
    run = _ours(runtime, file) if way == "ours" else _plain(runtime, file)
    canvas = draw_picture(np.random.default_rng(0), side, side)[None]
    times = []
    for _ in range(WARM_UPS + runs):
        start = time.perf_counter()
        run(canvas)
        times.append((time.perf_counter() - start) * 1000)
    return median(times[WARM_UPS:])


def _ours(runtime: str, file: Path) -> Run:
    ours, precision = RUNTIMES[runtime]
    return open_backend(file, runtime=ours, precision=precision, device="cpu").run


def _plain(runtime: str, file: Path) -> Run:
    if runtime == "ONNX Runtime":
        import onnxruntime as ort

        session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda canvas: session.run(None, {name: canvas})
    import onnx
    import onnx.inliner
    import openvino as ov

    inlined = onnx.inliner.inline_local_functions(onnx.load(file)).SerializeToString()
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if RUNTIMES[runtime][1] == "bf16" else "f32"}
    core = ov.Core()
    compiled = core.compile_model(core.read_model(inlined), "CPU", hint)
    return lambda canvas: compiled(canvas)


def render(report: Mapping[str, Any]) -> str:
    """A Markdown table, one row per model and runtime."""
    side = report["settings"]["side"]
    lines = [
        f"Our backends beside the plain runtimes, one {side} x {side} canvas ({report['machine']['cpu']['model']}):",
        "",
        "| model | runtime | plain [ms] | ours [ms] | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for model in report["models"]:
        for row in model["rows"]:
            lines.append(
                f"| {model['name']} | {row['runtime']} | {row['plain']:.1f} | {row['ours']:.1f} | {row['ratio']:.2f} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring."""
    return run_command(MODULE, __doc__, measure, render, arguments, side=SIDE, rounds=5, runs=5)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in RUNTIMES:
        runtime, file, way, side, runs = sys.argv[1:]
        print(json.dumps({"ms": time_run(runtime, Path(file), way, int(side), int(runs))}))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
