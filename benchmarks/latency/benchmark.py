"""Models measured side by side on one machine: latency by stage, cold start, accuracy of the very same files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet.benchmarks.latency.cold_start import time_cold_start
from cornernet.benchmarks.latency.latency_report import Report, make_rows, meaning
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.latency.postprocessing import BUDGET_MS, CANDIDATES, time_postprocessing
from cornernet.benchmarks.latency.stage_times import Subject, measure
from cornernet.benchmarks.pipeline import sweep
from cornernet.engine.backends.open import Precision, Runtime
from cornernet.engine.errors import ImageError, ModelError
from cornernet.engine.geometry import Size
from cornernet.engine.machine import machine_facts
from cornernet.engine.reading.images import SUFFIXES, read_image
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.trainer.deploy.open_model import open_model, precision_of, runtime_of, sha256_of


@dataclass(frozen=True)
class Steps:
    """Called as the work goes on: `start(what, how many steps)`, then `step()` for each. For a progress bar."""

    start: Callable[[str, int], None] = lambda what, count: None
    step: Callable[[], None] = lambda: None


class _Variant(NamedTuple):
    """A file, and how it is opened."""

    path: Path
    compiled: bool
    runtime: Runtime | None = None
    precision: Precision | None = None


def run_benchmark(
    models: Sequence[Path],
    *,
    images: Path | None = None,
    batches: Sequence[int] = (1, 2, 4, 8),
    size: Size | None = None,
    repeats: int = 20,
    dataset: CocoDataset | None = None,
    cold_start: bool = True,
    threads: int | None = None,
    torch_compile: bool = False,
    pipeline: bool = False,
    runtimes: Sequence[tuple[Runtime | None, Precision | None]] = ((None, None),),
    steps: Steps | None = None,
) -> Report:
    """Measure every model on the same images and the same canvas.

    Args:
        models: files; the first is what the others are compared with.
        images: a directory of pictures; None: generated ones.
        size: canvas (height, width) [px]; default the first model's training size.
        repeats: batches of each size that are timed.
        dataset: adds AP, measured with the same opened files.
        pipeline: measure how busy a simulated accelerator is kept, see benchmarks/pipeline.py.
        torch_compile: measure each checkpoint a second time, through torch.compile.
        runtimes: measure each ONNX file in each of these runtimes and precisions, see `open_backend`.

    Raises:
        ModelError, BackendError, ImageError, DatasetError: as soon as something cannot be measured.
    """
    if not models or min(batches, default=0) < 1 or repeats < 1:
        raise ValueError(
            f"{len(models)} models, batches {tuple(batches)}, {repeats} repeats; expected at least 1 of each"
        )
    steps = steps or Steps()
    with ExitStack() as stack:
        variants = [variant for path in models for variant in _variants(path, torch_compile, runtimes)]
        subjects = _open_all(variants, size, threads, stack)
        if images is None:
            files = write_pictures(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        else:
            files = find_readable(images)
        steps.start("timing", repeats * len(batches) * len(subjects))
        measure(subjects, files, batches, repeats, steps.step)
        accuracy = [_accuracy(subject, dataset, steps) for subject in subjects]
        facts = [_facts(variant.path, subject) for variant, subject in zip(variants, subjects)]
        canvas = subjects[0].size
    steps.start("cold start", len(variants))
    for variant, fact, found in zip(variants, facts, accuracy):
        # Measured when no other model is open: it has the machine to itself.
        timed = cold_start and not variant.compiled
        fact["cold_start_s"] = (
            time_cold_start(variant.path, canvas, variant.runtime, variant.precision) if timed else None
        )
        fact["accuracy"] = found
        steps.step()
    return Report(
        machine=machine_facts(),
        settings={
            "canvas": list(canvas),
            "batches": list(batches),
            "repeats": repeats,
            "images": "generated, 480x640 JPEG" if images is None else f"{len(files)} files",
            "data": dataset.annotation_file.name if dataset is not None else None,
            "threads": threads,
            "meaning": meaning(repeats),
        },
        models=facts,
        rows=make_rows(subjects),
        postprocessing=_postprocessing(),
        pipeline=_pipeline(steps) if pipeline else [],
    )


def find_readable(folder: Path) -> list[Path]:
    """The pictures of a directory that can be read, in order of their names. Raises ImageError if there are none."""
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such directory; expected one with pictures")
    readable = []
    for path in sorted(entry for entry in folder.rglob("*") if entry.suffix.lower() in SUFFIXES):
        try:
            read_image(path)
        except ImageError:
            continue
        readable.append(path)
    if not readable:
        raise ImageError(f"{folder}: no readable picture in it; looked for {', '.join(sorted(SUFFIXES))}")
    return readable


def _variants(
    path: Path, torch_compile: bool, runtimes: Sequence[tuple[Runtime | None, Precision | None]]
) -> list[_Variant]:
    """A checkpoint as it is, or compiled too; an ONNX file in each runtime; an engine as it is."""
    if path.suffix.lower() == ".onnx":
        return [_Variant(path, False, *pair) for pair in runtimes]
    return [_Variant(path, compiled) for compiled in _ways(path, torch_compile)]


def _ways(path: Path, torch_compile: bool) -> tuple[bool, ...]:
    """Whether to open a file as it is, compiled, or both."""
    return (False, True) if torch_compile and path.suffix.lower() == ".safetensors" else (False,)


def _open_all(variants: Sequence[_Variant], size: Size | None, threads: int | None, stack: ExitStack) -> list[Subject]:
    subjects: list[Subject] = []
    for path, compiled, runtime, precision in variants:
        backend = open_model(path, threads=threads, compiled=compiled, runtime=runtime, precision=precision)
        stack.callback(backend.close)
        if backend.card.outputs != "detections":
            raise ModelError(f"{path}: gives {backend.card.outputs}, not detections; there is nothing to post-process")
        size = size or backend.card.usual_canvas
        taken = [subject.name for subject in subjects]
        way = "torch.compile" if compiled else " ".join(filter(None, (runtime, precision)))
        name = f"{path.name}, {way}" if way else path.name
        name = name if name not in taken else f"{path.parent}/{name}"
        subjects.append(Subject(name, backend, size))
    return subjects


def _accuracy(subject: Subject, dataset: CocoDataset | None, steps: Steps) -> dict[str, float] | None:
    if dataset is None:
        return None
    steps.start(f"accuracy of {subject.name}", len(dataset.samples))

    def finished(count: int) -> None:
        for _ in range(count):
            steps.step()

    return evaluate(subject.detector, dataset, progress=finished).stats.values


def _facts(path: Path, subject: Subject) -> dict[str, Any]:
    card = subject.backend.card
    return {
        "name": subject.name,
        "network": card.name,
        "runtime": runtime_of(subject.backend),
        "precision": precision_of(subject.backend),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "parameters": card.parameters,
    }


def _pipeline(steps: Steps) -> list[dict[str, Any]]:
    steps.start("pipeline", 1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [asdict(row) for row in sweep(Path(folder))]
    steps.step()
    return rows


def _postprocessing() -> dict[str, Any]:
    classes = {}
    for count in (1, 80):
        times = time_postprocessing(count)
        classes[str(count)] = {f"p{q}": float(np.percentile(times, q)) for q in (50, 90, 99)}
    return {"candidates": CANDIDATES, "budget_ms": BUDGET_MS, "classes": classes}
