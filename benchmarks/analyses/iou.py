"""Table 5: how tight the boxes are. AP at single IoU thresholds beside the average over .50:.05:.95."""

from __future__ import annotations

from collections.abc import Callable

from cornernet.benchmarks.analyses.analyses_report import Cell, Table
from cornernet.engine.detector import Detector
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
COLUMNS = ("AP", *(f"AP{round(100 * threshold)}" for threshold in THRESHOLDS))


def ap_by_iou(
    detector: Detector, dataset: CocoDataset, *, progress: Callable[[int], None] | None = None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """AP (the average) and AP50, AP60 ... AP90 of a detector, and notes for the reader. -1: nothing to measure."""
    report = evaluate(detector, dataset, progress=progress)
    by_iou = report.stats.by_iou
    values = {f"AP{round(100 * threshold)}": by_iou[f"{threshold:.2f}"] for threshold in THRESHOLDS}
    notes = (*report.notes, *(f"no detections: {image}: {message}" for image, message in report.errors))
    return {"AP": report.stats["AP"], **values}, notes


def iou_table(measured: dict[str, dict[str, float]]) -> Table:
    """Table 5 of the models in `measured` (name -> `ap_by_iou`)."""
    rows: list[tuple[Cell, ...]] = [
        (name, *(values[column] for column in COLUMNS)) for name, values in measured.items()
    ]
    return Table("AP at IoU thresholds (Table 5)", ("model", *COLUMNS), tuple(rows))
