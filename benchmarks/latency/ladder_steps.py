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

from cornernet.engine.backends import Backend, RawDetections
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.installation import require
from cornernet.engine.model_card import METADATA_KEY, OUTPUTS, ModelCard
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

        def run(self, canvases: np.ndarray) -> RawDetections:
            with torch.inference_mode():
                return RawDetections(*(output.numpy() for output in published(torch.from_numpy(canvases))))

        def close(self) -> None:
            pass

    return Published()


def _torch(stem: Path) -> Backend:
    from cornernet.trainer.deploy.open_model import open_model

    return open_model(stem.with_suffix(".safetensors"))


def _onnxruntime(stem: Path) -> Backend:
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(stem.with_suffix(".onnx"), providers=["CPUExecutionProvider"])


def _openvino(stem: Path, precision: str) -> Backend:
    """The same file in OpenVINO's CPU plugin, its functions inlined in memory. precision: of what is not integer."""
    require("openvino", "the ladder")
    import onnx
    import openvino

    from cornernet.export.onnx_export import inline_functions

    model = inline_functions(onnx.load(stem.with_suffix(".onnx")))
    text = next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()
    del model

    class OpenVino:
        name = "OpenVINO"

        def __init__(self) -> None:
            self.card = ModelCard.from_json(text, origin=str(stem))

        def run(self, canvases: np.ndarray) -> RawDetections:
            found = request.infer([canvases])
            return RawDetections(*(found[name].copy() for name in OUTPUTS))

        def close(self) -> None:
            pass

    return OpenVino()


def _int8(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}-int8")


STEPS: dict[str, Callable[[Path], Backend]] = {
    "as published": lambda stem: _published(stem, folded=False),
    "batch norms folded": lambda stem: _published(stem, folded=True),
    "heads at selected cells": _torch,
    "ONNX Runtime": _onnxruntime,
    "ONNX Runtime, int8": lambda stem: _onnxruntime(_int8(stem)),
    "OpenVINO": lambda stem: _openvino(stem, "f32"),
    "OpenVINO, bf16": lambda stem: _openvino(stem, "bf16"),
    "OpenVINO, int8": lambda stem: _openvino(_int8(stem), "f32"),
    "OpenVINO, int8 and bf16": lambda stem: _openvino(_int8(stem), "bf16"),
}
"""Name -> the backend of that step, from the files STEM.safetensors, STEM.onnx and STEM-int8.onnx. Each keeps what the
step before it has gained, within its runtime."""


def measure_step(
    step: str, stem: Path, size: tuple[int, int], batch: int, runs: int, files: Sequence[Path]
) -> dict[str, Any]:
    """In this process. canvas_ms: of one batch of canvases (height, width) [px], uint8 to boxes, one number per run.
    jpeg_ms: of `Detector.predict` over the same number of files, file to boxes, one per run. open_s: opening."""
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
        for turn in range(WARM_UPS + runs):
            start = time.perf_counter()
            work()
            if turn >= WARM_UPS:
                times[name].append((time.perf_counter() - start) * 1000)
    backend.close()
    return {"open_s": opened, **times}


def time_step(
    step: str, stem: Path, size: tuple[int, int], batch: int, runs: int, files: Sequence[Path], *, limit_s: float = 1800
) -> dict[str, Any]:
    """`measure_step` in a fresh process. Raises BackendError with the last line of the child's complaint."""
    command = [sys.executable, "-m", "cornernet.benchmarks.latency.ladder_steps", step, str(stem)]
    command += [*map(str, size), str(batch), str(runs), *map(str, files)]
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
