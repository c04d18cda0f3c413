"""The main job from end to end, on pictures it draws itself: what a user does with nine commands, in one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cornernet.benchmarks.analyses.analyses_report import Report as Analysis
from cornernet.benchmarks.analyses.analysis_charts import error_chart
from cornernet.benchmarks.analyses.errors_picture import draw_errors
from cornernet.benchmarks.analyses.mistakes import error_tables, find_errors
from cornernet.benchmarks.analyses.observe import Network
from cornernet.benchmarks.latency.benchmark import run_benchmark
from cornernet.benchmarks.latency.latency_chart import draw_chart
from cornernet.benchmarks.latency.latency_report import Report
from cornernet.benchmarks.report.report_inputs import read_inputs
from cornernet.benchmarks.report.report_page import render_report
from cornernet.engine.detector import Detector
from cornernet.engine.errors import OutputError
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.picture_file import write_picture
from cornernet.engine.results.thresholds import SHOWN
from cornernet.engine.scoring.best_threshold import class_thresholds
from cornernet.engine.scoring.coco import CocoDataset, load_coco
from cornernet.engine.scoring.evaluation import EvaluationReport, evaluate, json_text
from cornernet.engine.whole_file import write_text_whole
from cornernet.export.onnx_export import ExportReport, export_onnx
from cornernet.export.write_card import write_card
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.deploy.open_model import sha256_of
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.plots import draw_beside_truth, draw_scaled
from cornernet.trainer.loop.train import train
from cornernet.trainer.network.checkpoint import load_checkpoint

MARK = ".cornernet-quickstart"
"""An empty file that says that a quickstart made the folder's `MADE`."""

MADE = (
    "shapes",
    "run",
    "model.onnx",
    "predictions",
    "predictions.png",
    "evaluation.json",
    "benchmark.json",
    "benchmark.png",
    "analyses",
    "report.html",
)

OF_A_RUN = (
    "last.pt",
    "last.safetensors",
    "best.safetensors",
    "metrics.jsonl",
    "losses.png",
    "ap.png",
    "predictions.png",
)
"""What training leaves and would continue or mix with; anything else in the run's folder stays."""

SIZE = (128, 128)
"""Canvas, height and width [px]."""

# Many pictures and few passes: the same pictures seen 20 times are learnt by heart.
TRAINING = TrainConfig(
    preset="tiny",
    size=SIZE,
    epochs=12,
    batch_size=8,
    learning_rate=2e-3,
    schedule="cosine",
    warmup_steps=50,
    ema_decay=0.998,
    workers=0,
    # Few objects of a class, and a short run that leaves embeddings looser than 500,000 steps: 0.5 tears pairs apart.
    max_distance=0.8,
    validate_every=4,
    augment=AugmentConfig(scales=(0.7, 0.8, 0.9, 1.0, 1.1, 1.2), border=0.35, colour=0.3, min_visible=0.4),
)


@dataclass(frozen=True)
class QuickstartReport:
    """Where everything is, how good the model is on pictures it has never seen, and how long the work took."""

    output: Path
    exported: ExportReport
    evaluation: EvaluationReport
    benchmark: Report
    seconds: float


def quickstart(
    output: Path,
    *,
    train_images: int = 3000,
    test_images: int = 100,
    epochs: int = TRAINING.epochs,
    repeats: int = 20,
    say: Callable[[str], None] = print,
) -> QuickstartReport:
    """Draw shapes, train, export, predict, evaluate, benchmark and report; everything is left in `output`.

    Running it again uses the pictures that are there and trains anew.

    Raises:
        OutputError: `output` holds something under a name that is written here, and no quickstart made it.
    """
    started = time.perf_counter()
    _claim(output)
    data = generate_shapes(output / "shapes", train=train_images, val=test_images // 2, test=test_images, size=SIZE)
    say(f"1/7 drew {train_images} pictures to train on and {test_images} to test on: {data}")

    run = output / "run"
    for name in OF_A_RUN:
        (run / name).unlink(missing_ok=True)
    config = TRAINING.model_copy(update={"epochs": epochs, "validate_every": min(epochs, TRAINING.validate_every)})
    trained = train(config, load_coco(data, "train"), load_coco(data, "val"), run)
    say(f"2/7 trained {trained.steps} steps, best validation AP {trained.best_ap:.3f}: {run}")

    model = output / "model.onnx"
    network, card = load_checkpoint(run / "best.safetensors")
    exported = export_onnx(network, card, model)
    say(f"3/7 exported {exported.bytes / 1e6:.1f} MB, {exported.nodes} nodes, equal to torch within:")
    for name, difference in exported.parity.differences.items():
        say(f"    {name:22} {difference.value:.1e} of {difference.tolerance:.0e} allowed")

    with Detector(model, resize="fit") as detector:
        exported_card = detector.card
        best = class_thresholds(evaluate(detector, load_coco(data, "val")).best_f1, exported_card.class_names)
    if best is not None:
        write_card(model, exported_card.model_copy(update={"score_thresholds": best}))
        shown = ", ".join(f"{name} {score:.2f}" for name, score in zip(card.class_names, best))
        say(f"    boxes are shown from the scores with the best F1 on the validation pictures: {shown}")

    unseen = load_coco(data, "test")
    with Detector(model, resize="fit") as detector:
        found = detector.predict([sample.path for sample in unseen.samples], batch_size=8)
        _write_predictions(unseen, found, output / "predictions")
        say(f"4/7 predicted {len(found)} unseen pictures in batches of 8: {output / 'predictions'}")
        evaluation = evaluate(detector, unseen)
    content = {"file": printable(model), "sha256": sha256_of(model), **evaluation.to_dict()}
    write_text_whole(output / "evaluation.json", json_text(content))
    stats = evaluation.stats
    say(f"5/7 evaluated on them: AP {stats['AP']:.3f}, AP50 {stats['AP50']:.3f}: {output / 'evaluation.json'}")
    threshold = evaluation.best_f1[0].threshold if evaluation.best_f1 else SHOWN
    _analyse_errors(Network(network, card), unseen, threshold, output / "analyses")

    models = [model, run / "best.safetensors"]
    report = run_benchmark(models, images=data / "images", batches=(1, 8), repeats=repeats, dataset=unseen)
    report.write(output / "benchmark.json")
    draw_chart(report, output / "benchmark.png")
    say(f"6/7 benchmarked: {output / 'benchmark.json'}, {output / 'benchmark.png'}")
    measured = ("run/metrics.jsonl", "evaluation.json", "benchmark.json", "analyses/errors.json")
    page = render_report(read_inputs([*(output / name for name in measured), *models]), title="Quickstart")
    write_text_whole(output / "report.html", page)
    say(f"7/7 all of it on one page: {output / 'report.html'}")
    return QuickstartReport(output, exported, evaluation, report, time.perf_counter() - started)


def _claim(output: Path) -> None:
    """Mark the folder as ours; refuse one in which somebody else's files would be replaced."""
    mark = output / MARK
    foreign = [] if mark.exists() else [name for name in MADE if os.path.lexists(output / name)]
    if foreign:
        raise OutputError(
            f"{printable(output / foreign[0])} is there and no quickstart made it; it was left alone. "
            "Choose an empty or a new folder with --output"
        )
    output.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _write_predictions(data: CocoDataset, found: list[Detections], folder: Path) -> None:
    """Annotated pictures, JSON lines, and a sheet with the truth beside."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for sample, detections in zip(data.samples, found, strict=True):
        lines.append(detections.to_json())
        picture = draw_scaled(read_image(sample.path), detections, 3)
        write_picture(folder / f"{sample.path.stem}.jpg", picture)
    write_text_whole(folder / "detections.jsonl", "\n".join(lines) + "\n")
    draw_beside_truth(data.samples[:8], found[:8], data.class_names, folder.parent / "predictions.png", threshold=None)


def _analyse_errors(network: Network, data: CocoDataset, threshold: float, folder: Path) -> None:
    """What `cornernet analyse errors` leaves: causes of errors as numbers and pictures."""
    found = find_errors(network, data, threshold=threshold)
    folder.mkdir(exist_ok=True)
    error_chart(found, folder / "errors.png")
    (folder / "errors-examples.png").unlink(missing_ok=True)  # of an earlier run: without mistakes there are none
    draw_errors(found, network.card.class_names, folder / "errors-examples.png")
    settings = {"dataset": "shapes", "split": "test", "images": len(data), "threshold": threshold}
    command = "cornernet analyse errors run/best.safetensors shapes --split test -o analyses"
    Analysis("errors", f"{command} --threshold {threshold}", settings, error_tables(found)).write(
        folder / "errors.json"
    )
