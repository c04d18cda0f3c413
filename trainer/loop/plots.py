"""Pictures of a training run, for people: losses, validation AP, predictions beside truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cornernet.engine.errors import ImageError
from cornernet.engine.installation import missing
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.picture_file import MARK, write_picture
from cornernet.engine.results.thresholds import SHOWN
from cornernet.engine.scoring.coco import Sample

try:
    # Figures of their own: pyplot would choose how every figure of the process is shown, a notebook's too.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise missing("matplotlib", "drawing a training run") from error

LOSS_TERMS = ("focal", "pull", "push", "offset", "attention")


def plot_losses(metrics: Sequence[dict[str, Any]], output: Path) -> None:
    """Total loss and its terms (Eq. 8, and attention) over optimiser steps, with the learning rate beneath."""
    rows = [row for row in metrics if "loss" in row]
    steps = [row["step"] for row in rows]
    figure = _figure((8, 6))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    top.plot(steps, [row["loss"] for row in rows], label="total", color="black", linewidth=1.8)
    for term in (term for term in LOSS_TERMS if any(term in row for row in rows)):
        top.plot(steps, [row[term] for row in rows], label=term, linewidth=1.1)
    top.set(ylabel="loss", yscale="log", title="Training loss")
    top.legend(ncols=6, fontsize=8, frameon=False)
    bottom.plot(steps, [row["learning_rate"] for row in rows], color="tab:gray")
    bottom.set(xlabel="optimiser step", ylabel="rate")
    _finish(figure, (top, bottom), output)


def plot_ap(metrics: Sequence[dict[str, Any]], output: Path) -> None:
    """Validation AP and AP50 over epochs, measured through the deployed decoder and post-processing."""
    rows = [row for row in metrics if "AP" in row]
    figure = _figure((8, 4))
    axis = figure.subplots()
    for name, style in (("AP", "o-"), ("AP50", "s--")):
        axis.plot([row["epoch"] for row in rows], [row[name] for row in rows], style, label=name, markersize=4)
    axis.set(xlabel="epoch", ylabel="average precision", ylim=(0, 1), title="Validation AP (COCO, IoU .5:.95)")
    axis.legend(frameon=False, loc="lower right")
    _finish(figure, (axis,), output)


def _figure(size_inch: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size_inch)
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Figure, axes: Sequence[Any], output: Path) -> None:
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(output, dpi=110, metadata={"Software": MARK})


GAP_PX = 16
"""Between one pair and the next, so that nobody takes a truth for that of its neighbour."""

WHITE = (255, 255, 255)


def draw_beside_truth(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    class_names: Sequence[str],
    output: Path,
    *,
    threshold: float | None = SHOWN,
    tile_px: int = 320,
    columns: int = 2,
) -> None:
    """Write a sheet of pairs: left what the model found from `threshold` on, right the annotated truth.

    threshold: None if `found` was cut at the model's own thresholds.
    """
    title = "found, from the model's thresholds" if threshold is None else f"found, scores from {threshold:g}"
    pairs = []
    for sample, detections in zip(samples, found, strict=True):
        if detections.error is not None:
            continue
        try:
            image = read_image(sample.path)
        except ImageError:  # it was there for the detector, and is not any more
            continue
        truth = Detections(
            boxes=sample.boxes[~sample.crowd],
            scores=np.ones(int((~sample.crowd).sum()), np.float32),
            labels=sample.labels[~sample.crowd],
            class_names=tuple(class_names),
            image_size=image.shape[:2],
        )
        tiles = [
            _tile(image, detections.above(threshold or 0), tile_px, title, scores=True),
            _tile(image, truth, tile_px, f"truth of {printable(sample.path.name)}", scores=False),
        ]
        pairs.append(cv2.copyMakeBorder(np.hstack(tiles), 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT, value=WHITE))
    if not pairs:
        return
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-len(pairs) % columns)
    rows = [np.hstack(pairs[start : start + columns]) for start in range(0, len(pairs), columns)]
    write_picture(output, np.vstack(rows))


def draw_scaled(image: np.ndarray, found: Detections, scale: float, *, scores: bool = True) -> np.ndarray:
    """The picture at another size with its boxes, so that lines and letters keep theirs."""
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])  # a picture of 1 px would vanish
    scaled = cv2.resize(image, (width, height), interpolation=method)
    return replace(found, boxes=found.boxes * np.float32(scale)).draw(scaled, scores=scores)


def _tile(image: np.ndarray, found: Detections, side_px: int, title: str, *, scores: bool) -> np.ndarray:
    """A picture with its boxes, fitted into a square tile with a title bar."""
    drawn = draw_scaled(image, found, side_px / max(image.shape[:2]), scores=scores)[:side_px, :side_px]
    tile = np.full((side_px + 24, side_px + 4, 3), 255, np.uint8)
    tile[22 : 22 + drawn.shape[0], 2 : 2 + drawn.shape[1]] = drawn
    shown = title if len(title) <= side_px // 9 else f"{title[: side_px // 9 - 3]}..."  # letters of about 9 px
    cv2.putText(tile, shown, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
    return tile
