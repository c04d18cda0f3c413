"""Table 4: what the hourglass is worth. One training run per file of benchmarks/backbones, all on the same loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import cornernet.benchmarks
from cornernet.benchmarks.analyses.ablations import COLUMNS, mean
from cornernet.benchmarks.analyses.analyses_report import Cell, Table
from cornernet.benchmarks.anchor_baseline.anchor_backend import AnchorBackend
from cornernet.benchmarks.anchor_baseline.anchor_method import ANCHORS
from cornernet.benchmarks.anchor_baseline.anchor_net import AnchorNet
from cornernet.engine.detector import Detector
from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.method import CORNERS
from cornernet.trainer.loop.train import train
from cornernet.trainer.loop.validation import measure_ap
from cornernet.trainer.network.checkpoint import load_checkpoint, load_weights
from cornernet.trainer.network.presets import preset
from cornernet.trainer.network.safetensors_file import read_safetensors

ROWS = {
    "pyramid_corners": "FPN + Corners",
    "hourglass_anchors": "Hourglass + Anchors",
    "hourglass_corners": "Hourglass + Corners",
}
"""Of Table 4, in its order: configuration -> name."""


@dataclass(frozen=True)
class BackboneRun:
    """One training run of one row. parameters: used for inference. stats: COCO numbers of the last weights."""

    row: str
    seed: int
    steps: int
    parameters: int
    gmacs: float
    stats: dict[str, float]


def backbone_config(row: str, **overrides: Any) -> TrainConfig:
    """The configuration of a row, as shipped with the package, with a budget put on top. Raises TrainingError."""
    file = Path(next(iter(cornernet.benchmarks.__path__))) / "backbones" / f"{row}.toml"
    return TrainConfig.read(file, **overrides)


def run_row(
    row: str, train_data: CocoDataset, val_data: CocoDataset, output: Path, *, device: str | None, **overrides: Any
) -> BackboneRun:
    """Train a row into `output`/<row>/seed-<seed> and measure its last weights on `val_data`, as the ablations do.

    A run that was interrupted goes on where it stopped; one that is complete is only measured. Raises TrainingError.
    """
    config = backbone_config(row, **overrides)
    folder = output / row / f"seed-{config.seed}"
    anchors = row == "hourglass_anchors"
    resume = (folder / "last.pt").exists()
    kind = ANCHORS if anchors else CORNERS
    report = train(config, train_data, None, folder, resume=resume, device=device, kind=kind)
    if report.interrupted:
        raise TrainingError(f"interrupted in row '{row}'; the same command goes on from here")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    measure = _measure_anchors if anchors else _measure_corners
    card, stats = measure(config, folder / "last.safetensors", val_data, where)
    (gmacs,) = card.gmacs.values()
    return BackboneRun(row, config.seed, report.steps, card.parameters or 0, gmacs, stats)


def run_rows(
    rows: Iterable[str],
    seeds: Iterable[int],
    train_data: CocoDataset,
    val_data: CocoDataset,
    output: Path,
    *,
    presets: dict[str, str | None],
    device: str | None = None,
    finished: Callable[[BackboneRun], None] | None = None,
    **overrides: Any,
) -> list[BackboneRun]:
    """Every row with every seed, seed by seed, so that an early stop leaves whole comparisons.

    presets: "hourglass" and "pyramid", of the rows that begin so; None: those of the configurations.
    """
    runs = []
    for seed in seeds:
        for row in rows:
            own = overrides | {"seed": seed, "preset": presets.get(row.partition("_")[0])}
            runs.append(run_row(row, train_data, val_data, output, device=device, **own))
            if finished is not None:
                finished(runs[-1])
    return runs


def backbone_table(runs: Iterable[BackboneRun]) -> Table:
    """Table 4: means over seeds, the AP of each seed where there are several, and what each row costs."""
    by_row: dict[str, list[BackboneRun]] = {}
    for run in runs:
        by_row.setdefault(run.row, []).append(run)
    several = any(len(group) > 1 for group in by_row.values())
    rows: list[tuple[Cell, ...]] = []
    for row, label in ROWS.items():
        if group := by_row.get(row):
            cost = (f"{group[0].parameters / 1e6:.2f}", f"{group[0].gmacs:.2f}")
            each = (" / ".join(f"{100 * run.stats['AP']:.1f}" for run in group),) if several else ()
            rows.append((label, *(mean(run.stats[column] for run in group) for column in COLUMNS), *cost, *each))
    heads = ("", *COLUMNS, "M parameters", "GMAC", *(("AP by seed",) if several else ()))
    return Table("Backbone and anchors (Table 4)", heads, tuple(rows))


def backbone_means(runs: Iterable[BackboneRun]) -> dict[str, dict[str, float]]:
    """Row -> column -> mean over seeds, for a chart."""
    runs = list(runs)
    return {
        label: {column: mean(run.stats[column] for run in runs if run.row == row) for column in COLUMNS}
        for row, label in ROWS.items()
        if any(run.row == row for run in runs)
    }


def _measure_corners(
    config: TrainConfig, file: Path, data: CocoDataset, device: torch.device
) -> tuple[ModelCard, dict[str, float]]:
    network, card = load_checkpoint(file)
    return card, measure_ap(network, card, data, device).stats.values


def _measure_anchors(
    config: TrainConfig, file: Path, data: CocoDataset, device: torch.device
) -> tuple[ModelCard, dict[str, float]]:
    """Through the same Detector and evaluation. Raises TrainingError if a picture fails: that is no AP of 0."""
    metadata, tensors = read_safetensors(file)
    card = ModelCard.from_json(metadata[METADATA_KEY], origin=str(file))
    network = AnchorNet(preset(config.preset, len(card.class_names)))
    load_weights(network, tensors, origin=str(file))
    with Detector(AnchorBackend(network, card, device), resize="fit", size=card.train_size) as detector:
        report = evaluate(detector, data, batch_size=8)
    if report.errors:
        raise TrainingError(f"{len(report.errors)} of {len(data)} pictures failed; the first: {report.errors[0]}")
    return card, report.stats.values
