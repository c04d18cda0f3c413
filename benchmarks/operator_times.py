"""Where ONNX Runtime spends the time of a file, by operator: how much of it is not convolution.

    python -m cornernet.benchmarks.operator_times tiny squeeze hourglass-104 --json operator_times.json

A model is an ONNX file, or a preset with random weights. Times are ONNX Runtime's own profile of its CPU provider.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.benchmarks.model_command import run_command
from cornernet.benchmarks.untrained_models import exported
from cornernet.engine.errors import ModelError
from cornernet.engine.machine import machine_facts

SIDE = 511
CONVOLUTIONS = ("Conv", "ConvTranspose", "FusedConv")
LAYOUT = ("ReorderInput", "ReorderOutput", "Transpose")
POOLING = ("MaxPool", "Pad", "IsNaN")
"""Of corner pooling's definition and of the peaks'; their comparisons are among the rest."""


def measure(models: Sequence[str], *, runs: int = 10, side: int = SIDE) -> dict[str, Any]:
    """The report, JSON-ready: each model's share of the time [1] by operator, largest first.

    Raises ModelError if a file cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = [profile(exported(model, Path(folder)), runs, side, Path(folder)) for model in models]
    names = [Path(model).stem if model.endswith(".onnx") else model for model in models]
    return {
        "machine": machine_facts(),
        "settings": {"side": side, "runs": runs},
        "models": [{"name": name, "shares": shares} for name, shares in zip(names, found, strict=True)],
    }


def profile(path: Path, runs: int, side: int, folder: Path) -> dict[str, float]:
    """Operator -> share of the time [1] of one canvas (side, side) [px]: each node's fastest run, but for the first."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / path.stem)
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (images,) = session.get_inputs()
        canvas = draw_picture(np.random.default_rng(0), side, side)[None]
        for _ in range(1 + runs):
            session.run(None, {images.name: canvas})
    except Exception as error:  # ONNX Runtime's are of many types, without a common one
        raise ModelError(f"{path}: cannot be profiled: {error}. Export it again, or choose another --side.") from error
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith("kernel_time")]
    times: Counter[str] = Counter()
    nodes = len(kernels) // (1 + runs)
    for place, event in enumerate(kernels[:nodes]):  # its fastest run: other processes only add
        times[event["args"]["op_name"]] += min(again["dur"] for again in kernels[place + nodes :: nodes])
    return {name: time / times.total() for name, time in times.most_common()}


def render(report: Mapping[str, Any]) -> str:
    """The shares as a Markdown table, one row per model."""
    side = report["settings"]["side"]
    lines = [
        f"Where ONNX Runtime's time goes, one {side} x {side} view ({report['machine']['cpu']['model']}):",
        "",
        "| model | convolutions | layout | pooling and peaks | the rest, largest first |",
        "|---|---|---|---|---|",
    ]
    for model in report["models"]:
        shares = model["shares"]
        groups = [sum(shares.get(name, 0) for name in group) for group in (CONVOLUTIONS, LAYOUT, POOLING)]
        rest = {name: share for name, share in shares.items() if name not in CONVOLUTIONS + LAYOUT + POOLING}
        largest = ", ".join(f"{name} {share:.1%}" for name, share in list(rest.items())[:4])
        lines.append(f"| {model['name']} | {' | '.join(f'{share:.1%}' for share in groups)} | {largest} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring."""
    return run_command("cornernet.benchmarks.operator_times", __doc__, measure, render, arguments, side=SIDE, runs=10)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
