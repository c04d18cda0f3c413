"""The steps of the ladder: one network, opened the published way and each faster way. A process of its own runs a step.

`python -m cornernet.benchmarks.latency.ladder_steps STEP STEM HEIGHT WIDTH BATCH RUNS JPEG...` prints a line of JSON;
`time_step` runs that. Apart, because the threads of one runtime spin on after its last run, and would be timed with the
next one's; and because eight copies of Hourglass-104 do not fit into a small machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends import Backend, Outputs, named_outputs
from cornernet.engine.backends.open import Precision, Runtime, open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.reading.images import read_image

WARM_UPS = 2


def _published(stem: Path, *, folded: bool) -> Backend:
    import torch

    from cornernet.benchmarks.latency.as_published import AsPublished
    from cornernet.trainer.network.checkpoint import load_checkpoint

    network, card = load_checkpoint(stem.with_suffix(".safetensors"))
    published = AsPublished(network, card, folded=folded)

    class Published:
        name = "PyTorch, as published"

        def __init__(self) -> None:
            self.card = card

        def run(self, canvases: np.ndarray) -> Outputs:
            with torch.inference_mode():
                return named_outputs([output.numpy() for output in published(torch.from_numpy(canvases))])

        def run_crops(self, canvases: np.ndarray) -> Outputs:
            """Of a Saccade: its code leaves the attention of crops out."""
            with torch.inference_mode():
                return named_outputs([out.numpy() for out in published(torch.from_numpy(canvases), attention=False)])

        def close(self) -> None:
            pass

    return Published()


def _torch(stem: Path) -> Backend:
    from cornernet.trainer.deploy.open_model import open_model

    return open_model(stem.with_suffix(".safetensors"))


def _onnx(stem: Path, runtime: Runtime, precision: Precision = "fp32") -> Backend:
    """precision: of what is not integer."""
    return open_backend(stem.with_suffix(".onnx"), runtime=runtime, precision=precision, device="cpu")


def _int8(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}-int8")


STEPS: dict[str, Callable[[Path], Backend]] = {
    "as published": lambda stem: _published(stem, folded=False),
    "batch norms folded": lambda stem: _published(stem, folded=True),
    "heads at selected cells": _torch,
    "ONNX Runtime": lambda stem: _onnx(stem, "onnxruntime"),
    "ONNX Runtime, int8": lambda stem: _onnx(_int8(stem), "onnxruntime"),
    "OpenVINO": lambda stem: _onnx(stem, "openvino"),
    "OpenVINO, bf16": lambda stem: _onnx(stem, "openvino", "bf16"),
    "OpenVINO, int8": lambda stem: _onnx(_int8(stem), "openvino"),
    "OpenVINO, int8 and bf16": lambda stem: _onnx(_int8(stem), "openvino", "bf16"),
}
"""Name -> the backend of that step, from the files STEM.safetensors, STEM.onnx and STEM-int8.onnx. Each keeps what the
step before it has gained, within its runtime."""


def measure_step(
    step: str, stem: Path, size: tuple[int, int], batch: int, runs: int, files: Sequence[Path]
) -> dict[str, Any]:
    """In this process. canvas_ms: of one batch of canvases (height, width) [px], uint8 to boxes, one number per run.
    jpeg_ms: of `Detector.predict` over the same number of files, file to boxes, one per run. open_s: opening.
    A batch of several warms up by itself, so that hourglass-104 is measured in minutes."""
    start = time.perf_counter()
    backend = STEPS[step](stem)
    opened = time.perf_counter() - start
    detector = Detector(backend, resize="fit", size=size, score_threshold=0)
    chosen = [files[place % len(files)] for place in range(batch)]
    pictures = detector.predict(chosen, batch_size=batch)
    errors = [found.error for found in pictures if found.error is not None]
    if errors:
        raise BackendError(f"{step}: {errors[0]}")
    canvases = np.stack([_canvas(file, size) for file in chosen])
    times: dict[str, list[float]] = {"canvas_ms": [], "jpeg_ms": []}
    works: dict[str, Callable[[], object]] = {
        "canvas_ms": lambda: backend.run(canvases),
        "jpeg_ms": lambda: detector.predict(chosen, batch_size=batch),
    }
    for name, work in works.items():
        warm_ups = WARM_UPS if batch == 1 else 1
        for turn in range(warm_ups + runs):
            start = time.perf_counter()
            work()
            if turn >= warm_ups:
                times[name].append((time.perf_counter() - start) * 1000)
    backend.close()
    return {"open_s": opened, **times}


def time_step(
    step: str, stem: Path, size: tuple[int, int], batch: int, runs: int, files: Sequence[Path], *, limit_s: float = 1800
) -> dict[str, Any]:
    """`measure_step` in a fresh process. Raises BackendError with the last line of the child's complaint."""
    module = "cornernet.benchmarks.latency.ladder_steps"
    return in_process(module, step, stem, [*size, batch, runs, *files], limit_s=limit_s)


def in_process(module: str, step: str, stem: Path, words: Sequence[object], *, limit_s: float) -> dict[str, Any]:
    """The line of JSON that `python -m MODULE STEP STEM WORDS...` prints last. Raises BackendError."""
    command = [sys.executable, "-m", module, step, str(stem), *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"{step}, {stem.name}: not measured within {limit_s:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BackendError(f"{step}, {stem.name}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _canvas(file: Path, size: tuple[int, int]) -> np.ndarray:
    """A picture cut or repeated to the canvas: what is in it does not change what a layer costs."""
    image = read_image(file)
    rows, columns = (np.arange(side) % length for side, length in zip(size, image.shape[:2]))
    return np.ascontiguousarray(image[rows][:, columns])


if __name__ == "__main__":
    step, stem, height, width, batch, runs, *files = sys.argv[1:]
    pictures = [Path(file) for file in files]
    print(json.dumps(measure_step(step, Path(stem), (int(height), int(width)), int(batch), int(runs), pictures)))
