"""Table 6: what each kind of map costs. Predicted maps are replaced by the true ones, decoder and post-processing stay.

The true heatmap is the training target (trainer/data/targets.py) of the canvas on which the image lies: 1 at each
corner, a gaussian around it, 0 elsewhere. As logits these are +inf, finite and -inf, so the deployed decoder finds
just these corners. The paper's rows are cumulative; the last one here is not in the paper: with true embeddings too,
what is still missing is lost by the decoder (K corners, one object a cell) and by soft-NMS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from cornernet.benchmarks.analyses.analyses_report import Cell, Table
from cornernet.benchmarks.analyses.observe import Network, Observation, SharedClasses, Truth
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.images import read_image
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.coco_stats import coco_stats
from cornernet.engine.scoring.evaluation import result_entries, scored_truth
from cornernet.trainer.data.targets import CornerTargets, corner_targets
from cornernet.trainer.network.corner_net import Heads

Map = Literal["heatmap", "offset", "embedding"]

ROWS: dict[str, tuple[Map, ...]] = {
    "predicted": (),
    "w/ gt heatmaps": ("heatmap",),
    "w/ gt heatmaps + offsets": ("heatmap", "offset"),
    "w/ gt heatmaps + offsets + embeddings": ("heatmap", "offset", "embedding"),
}
COLUMNS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def ap_with_true_maps(
    network: Network, dataset: CocoDataset, *, progress: Callable[[int], None] | None = None
) -> dict[str, dict[str, float]]:
    """COCO numbers of every row of `ROWS`. Raises ImageError if an image cannot be read: none may be left out."""
    classes = SharedClasses(network.card, dataset)
    results: dict[str, list[dict[str, object]]] = {row: [] for row in ROWS}
    for sample in dataset.samples:
        seen = network.observe(read_image(sample.path))
        truth = classes.truth(sample)
        for row, maps in ROWS.items():
            heads = with_true_maps(seen, truth, maps, separation=2 * network.card.decoder.max_distance)
            found = network.detect(seen, heads)
            results[row] += result_entries(found, sample.image_id, classes.category_of_label)
        if progress is not None:
            progress(1)
    return {row: coco_stats(scored_truth(dataset), found).values for row, found in results.items()}


def with_true_maps(seen: Observation, truth: Truth, maps: tuple[Map, ...], *, separation: float) -> Heads:
    """The observation's heads with the named maps replaced. Objects' true embeddings lie `separation` apart.

    Offsets and embeddings are replaced at the true corners' cells, the only ones that are read. Of several objects with
    a corner in one cell the last one's values stay: a cell holds one.
    """
    if not maps:
        return seen.heads
    targets, heads = true_targets(seen, truth), seen.heads._asdict()
    branches = (
        ("top_left", targets.top_left_heatmap, targets.top_left_offset, targets.top_left_cell),
        ("bottom_right", targets.bottom_right_heatmap, targets.bottom_right_offset, targets.bottom_right_cell),
    )
    for branch, heatmap, offsets, cells in branches:
        if "heatmap" in maps:
            heads[f"{branch}_heatmap"] = torch.logit(torch.from_numpy(heatmap))[None]
        if "offset" in maps:
            heads[f"{branch}_offset"] = _written(heads[f"{branch}_offset"], cells, offsets)
        if "embedding" in maps:
            own = separation * np.arange(len(cells), dtype=np.float32)[:, None]
            heads[f"{branch}_embedding"] = _written(heads[f"{branch}_embedding"], cells, own)
    return Heads(**heads)


def true_targets(seen: Observation, truth: Truth) -> CornerTargets:
    """Training targets of the objects, a row for each, on the canvas on which the image was seen."""
    _, classes, rows, columns = seen.heads.top_left_heatmap.shape
    return corner_targets(
        seen.placement.to_canvas(truth.boxes, DEFAULT),
        truth.labels,
        num_classes=classes,
        input_size=seen.placement.canvas,
        map_size=(rows, columns),
        max_objects=len(truth.boxes),
    )


def _written(maps: torch.Tensor, cells: np.ndarray, values: np.ndarray) -> torch.Tensor:
    """A copy of `maps` (1, C, h, w) with `values` (n, C) at the flat `cells` (n,); of equal cells the last stays."""
    written = maps.flatten(2).clone()
    for cell, value in zip(cells.tolist(), values):
        written[0, :, cell] = torch.from_numpy(value)
    return written.reshape(maps.shape)


def ground_truth_table(measured: dict[str, dict[str, float]]) -> Table:
    """Table 6, and a row beyond it."""
    rows: list[tuple[Cell, ...]] = [(row, *(values[column] for column in COLUMNS)) for row, values in measured.items()]
    return Table("Predicted maps replaced by the ground truth (Table 6)", ("maps", *COLUMNS), tuple(rows))
