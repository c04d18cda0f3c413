"""Tables 1 and 2: one training run per file of benchmarks/ablations, on the same images in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cornernet.benchmarks
from cornernet.benchmarks.analyses.analyses_report import Cell, Table
from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.train import train
from cornernet.trainer.loop.validation import measure_ap
from cornernet.trainer.network.checkpoint import load_checkpoint

COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")

TABLES = {
    "Corner pooling (Table 1)": {
        "no_corner_pooling": "w/o corner pooling",
        "full": "w/ corner pooling",
    },
    "Penalty reduction (Table 2)": {
        "radius_none": "w/o reducing penalty",
        "radius_fixed": "fixed radius",
        "full": "object-dependent radius",
    },
}
ABLATIONS = ("full", "no_corner_pooling", "radius_none", "radius_fixed")


@dataclass(frozen=True)
class Run:
    """One training run of one ablation. stats: COCO numbers of the last weights on the validation data."""

    ablation: str
    seed: int
    checkpoint: Path
    steps: int
    stats: dict[str, float]


def ablation_file(name: str) -> Path:
    """The training configuration of an ablation, as shipped with the package."""
    return Path(next(iter(cornernet.benchmarks.__path__))) / "ablations" / f"{name}.toml"


def ablation_config(name: str, **overrides: Any) -> TrainConfig:
    """The configuration with a budget put on top. Raises TrainingError if an override would undo the ablation."""
    undone = sorted({"corner_pooling", "radius"} & {key for key, value in overrides.items() if value is not None})
    if undone:
        raise TrainingError(f"{', '.join(undone)} is what the ablations vary; it cannot be overridden for all of them")
    return TrainConfig.read(ablation_file(name), **overrides)


def run_ablation(
    name: str,
    train_data: CocoDataset,
    val_data: CocoDataset,
    output: Path,
    *,
    device: str | None = None,
    **overrides: Any,
) -> Run:
    """Train one ablation into `output`/<name>/seed-<seed> and measure its last weights on `val_data`.

    The last weights, not the best: choosing by validation AP would favour the noisier run. A run that was interrupted
    goes on where it stopped; one that is complete is only measured. Raises TrainingError.
    """
    config = ablation_config(name, **overrides)
    folder = output / name / f"seed-{config.seed}"
    resume = (folder / "last.pt").exists()
    report = train(config, train_data, None, folder, resume=resume, device=device)
    if report.interrupted:
        raise TrainingError(f"interrupted in ablation '{name}'; the same command goes on from here")
    checkpoint = folder / "last.safetensors"
    network, card = load_checkpoint(checkpoint)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    stats = measure_ap(network, card, val_data, where).stats.values
    return Run(name, config.seed, checkpoint, report.steps, stats)


def run_ablations(
    names: Iterable[str],
    seeds: Iterable[int],
    train_data: CocoDataset,
    val_data: CocoDataset,
    output: Path,
    *,
    device: str | None = None,
    finished: Callable[[Run], None] | None = None,
    **overrides: Any,
) -> list[Run]:
    """Every ablation with every seed, seed by seed, so that an early stop leaves whole comparisons."""
    runs = []
    for seed in seeds:
        for name in names:
            run = run_ablation(name, train_data, val_data, output, device=device, **{**overrides, "seed": seed})
            runs.append(run)
            if finished is not None:
                finished(run)
    return runs


def ablation_tables(runs: Iterable[Run]) -> tuple[Table, ...]:
    """Tables 1 and 2: the mean over seeds, and the AP of each seed where there are several, so that noise shows."""
    by_name = _by_ablation(runs)
    tables = []
    for title, names in TABLES.items():
        rows: list[tuple[Cell, ...]] = []
        several = any(len(group) > 1 for group in by_name.values())
        for name, label in names.items():
            if group := by_name.get(name):
                each = (" / ".join(f"{100 * run.stats['AP']:.1f}" for run in group),) if several else ()
                rows.append((label, *(mean(run.stats[column] for run in group) for column in COLUMNS), *each))
        heads = ("", *COLUMNS, *(("AP by seed",) if several else ()))
        tables.append(Table(title, heads, tuple(rows)))
    return tuple(table for table in tables if table.rows)


def ablation_means(runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """Ablation -> column -> mean over seeds, for a chart."""
    by_name = _by_ablation(runs)
    return {name: {c: mean(run.stats[c] for run in group) for c in COLUMNS} for name, group in by_name.items()}


def _by_ablation(runs: Iterable[Run]) -> dict[str, list[Run]]:
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.ablation, []).append(run)
    return by_name


def mean(values: Iterable[float]) -> float:
    """Of what was measured: numbers below 0 say that nothing was; -1 if none is."""
    measured = [value for value in values if value >= 0]
    return float(np.mean(measured)) if measured else -1.0
