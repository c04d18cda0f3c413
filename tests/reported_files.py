"""A folder with what `train`, `evaluate`, `benchmark` and `analyse` leave, computed by what they compute with."""

import hashlib
from pathlib import Path

import numpy as np
from fake_backends import make_card, write_onnx

from cornernet.benchmarks.analyses.analyses_report import Report as Analysis
from cornernet.benchmarks.analyses.analyses_report import Table
from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.latency.latency_report import Row, meaning
from cornernet.benchmarks.latency.stage_times import STAGES
from cornernet.engine.machine import machine_facts
from cornernet.engine.results.picture_file import write_picture
from cornernet.engine.scoring.best_threshold import best_thresholds, match_classes_apart
from cornernet.engine.scoring.coco_stats import coco_stats, numeric_truth
from cornernet.engine.scoring.confusion import confusion
from cornernet.engine.scoring.curves import curves
from cornernet.engine.scoring.evaluation import EvaluationReport, json_text
from cornernet.engine.whole_file import write_text_whole
from cornernet.trainer.loop.metrics_file import append_metrics

NAMES = ("cat", "dog", "hen")


def write_run(folder: Path, *, steps: int = 60, level: float = 1.0) -> Path:
    for step in range(1, steps, 3):
        loss = level * 8 / step
        row = {"step": step, "loss": loss, "focal": loss / 2, "pull": loss / 8, "push": loss / 4, "offset": loss / 8}
        append_metrics(folder / "metrics.jsonl", row | {"learning_rate": 1e-3, "images_per_second": 100.0})
    for epoch in (1, 2):
        row = {"step": epoch * steps // 2, "epoch": epoch, "AP": 0.3 * epoch, "AP50": 0.4 * epoch}
        append_metrics(folder / "metrics.jsonl", row)
    return folder


def write_evaluation(path: Path, *, names=NAMES, model: str = "model.onnx", sha256: str = "0" * 64, seed: int = 0,
                     images: int = 30) -> dict:  # fmt: skip
    """Of a detector that finds most objects of random places, some of them as another class, and some that are none."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(images):
        for place in range(4):
            category = int(rng.integers(len(names)))
            box = [100.0 * place, 10.0, *rng.uniform(20, 60, 2).tolist()]
            objects.append({"id": len(objects), "image_id": image, "category_id": category, "bbox": box})
            if rng.random() < 0.9:
                said = category if rng.random() < 0.85 else int(rng.integers(len(names)))
                score = float(rng.uniform(0.3, 1)) if rng.random() < 0.9 else 0.1
                found.append({"image_id": image, "category_id": said, "bbox": box, "score": score})
        noise = {"image_id": image, "category_id": 0, "bbox": [500.0, 200.0, 30.0, 30.0]}
        found.append({**noise, "score": float(rng.uniform(0, 0.6))})
    truth = numeric_truth(
        {
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
            "annotations": objects,
        }
    )
    matched = match_classes_apart(truth, found)
    best = best_thresholds(matched)
    report = EvaluationReport(
        model="fake",
        dataset="data/farm/annotations/instances_val.json",
        stats=coco_stats(truth, found),
        best_f1=best,
        curves=curves(matched),
        confusion=confusion(truth, found, best),
        results=[],
        errors=(),
        notes=("a note",),
    )
    content = {"file": model, "sha256": sha256, **report.to_dict()}
    write_text_whole(path, json_text(content))
    return content


def write_benchmark(path: Path, *, models=(("model.onnx", "0" * 64), ("half.onnx", "1" * 64))) -> Latency:
    def times(value):
        return {"p50": value, "p90": value * 1.2, "p99": value * 1.5, "mean": value, "max": value * 2}

    rows = [
        Row(
            model=name,
            batch=batch,
            samples=20,
            stages=dict(zip(STAGES, map(times, (0.2, 0.1, 4.0 / batch, 0.3)))),
            end_to_end=times(0.6 + 4.0 / batch),
            images_per_s=1000 / (0.6 + 4 / batch),
            speed=1.0,
            first_batch_ms=9.0,
        )
        for batch in (1, 8)
        for name, _ in models
    ]
    cold = {"import": 1.0, "open": 0.5, "first": 0.2, "process": 2.0}
    facts = [
        {"name": name, "sha256": sha256, "runtime": "ONNX Runtime CPU", "precision": "fp32", "bytes": 4_100_000}
        | {"parameters": 998_684, "cold_start_s": cold, "accuracy": None}
        for name, sha256 in models
    ]
    settings = {"canvas": [128, 128], "repeats": 20, "meaning": meaning(20), "data": None}
    report = Latency(machine_facts(), settings, facts, rows, postprocessing={})
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write(path)
    return report


def write_errors(folder: Path) -> None:
    rows = (("found", 7, 0.7), ("missed both corners", 3, 0.3), ("all", 10, 1.0))
    tables = (Table("Missed objects, by cause", ("objects", "number", "%"), rows),)
    settings = {"dataset": "farm", "split": "val", "threshold": 0.5}
    Analysis("errors", "cornernet analyse errors x.safetensors data/farm", settings, tables).write(
        folder / "errors.json"
    )
    write_picture(folder / "errors-examples.png", noise(300, 500))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_everything(folder: Path, *, names=NAMES) -> Path:
    """A run, a model, its evaluation, a benchmark, an analysis, pictures."""
    write_run(folder / "run")
    write_picture(folder / "run" / "predictions.png", noise(200, 400))
    card = make_card(class_names=names, category_ids=tuple(range(len(names))), train_size=(128, 128))
    write_onnx(folder / "model.onnx", card)
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    write_evaluation(folder / "model.onnx.farm.val.json", names=names, sha256=digest)
    write_benchmark(folder / "benchmark" / "benchmark.json", models=(("model.onnx", digest), ("half.onnx", "1" * 64)))
    write_errors(folder / "analyses")
    return folder
