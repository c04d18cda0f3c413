"""How a CornerNet-Saccade looks twice: its attention over the image, the crops in their order, the boxes of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cornernet.benchmarks.analyses.analysis_charts import COLOURS, Rectangle, save, subplots
from cornernet.benchmarks.analyses.heatmap_picture import draw_boxes, tinted
from cornernet.benchmarks.analyses.observe import Network
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ImageError
from cornernet.engine.results.detections import Detections
from cornernet.engine.running.serial import run_window
from cornernet.engine.saccade.cuts import Cut

LEVELS = {"large": (255, 120, 0), "medium": (0, 170, 120), "small": (0, 140, 255)}
"""Of objects, with their colours (RGB)."""

BATCH = 8


def draw_saccade(network: Network, image: np.ndarray, output: Path, *, threshold: float = 0.5) -> Detections:
    """Write six panels: attention to large, medium and small objects, the crops, the best one as the network sees it,
    and the boxes of score `threshold` or more, which are returned.

    image (H, W, 3) uint8 BGR. Raises ModelError if the network is no Saccade, ImageError if it cannot be run.
    """
    backend = network.backend()
    stages = Detector(backend, score_threshold=threshold).stages
    loaded = stages.load((0, image))
    (found,) = run_window(stages, [loaded], BATCH)
    backend.close()
    if found.error is not None:
        raise ImageError(found.error)
    assert network.card.saccade is not None
    cuts = [cut for _, _, cut in loaded.seen if isinstance(cut, Cut)]
    views, crops = cuts[: len(network.card.saccade.view_sizes)], cuts[len(network.card.saccade.view_sizes) :]
    height, width = image.shape[:2]
    panel = (4.2 * min(1.6, max(0.6, width / height)), 4.2)
    figure, axes = subplots(2, 3, figsize=(3 * panel[0], 2 * panel[1] + 0.6), layout="constrained")
    maps = [network.attention(_canvas(stages.plan, image, view)) for view in views]
    for axis, (level, colour), seen in zip(axes[0], LEVELS.items(), zip(*maps)):
        plane = np.max([attention_plane(values, view) for values, view in zip(seen, views)], axis=0)
        axis.imshow(tinted(image, plane, colour), extent=(0, width, height, 0))
        axis.set_title(f"attention, {level}: up to {plane.max():.2f}", fontsize=10)
    axes[1, 0].imshow(image[:, :, ::-1], extent=(0, width, height, 0))
    draw_crops(axes[1, 0], crops)
    axes[1, 0].set_title(f"{len(crops)} crops, in the order of their scores", fontsize=10)
    best = crops[0] if crops else views[-1]
    shown = _canvas(stages.plan, image, best)
    axes[1, 1].imshow(shown if network.card.channel_order == "rgb" else shown[:, :, ::-1])
    axes[1, 1].set_title(f"{'crop 1' if crops else 'a view'}, {best.zoom:.2f} times as large", fontsize=10)
    axes[1, 2].imshow(image[:, :, ::-1], extent=(0, width, height, 0))
    draw_boxes(axes[1, 2], found, names=True)
    axes[1, 2].set_title(f"{len(found)} boxes of score {threshold:g} or more", fontsize=10)
    for axis in (*axes[0], axes[1, 0], axes[1, 2]):
        axis.set(xlim=(0, width), ylim=(height, 0))
    for axis in axes.flat:
        axis.axis("off")
    save(figure, output)
    return found


def attention_plane(values: np.ndarray, view: Cut) -> np.ndarray:
    """A map (h, w) of a view's canvas -> (H, W) float32 over the image, each cell a block of pixels; 0 where no cell
    is."""
    plane = np.zeros(view.image, np.float32)
    if view.is_empty:
        return plane
    canvas = cv2.resize(values.astype(np.float32), view.canvas[::-1], interpolation=cv2.INTER_NEAREST)
    (rows, columns), (target_rows, target_columns) = view.source, view.target
    content = canvas[slice(*target_rows), slice(*target_columns)]
    size = columns[1] - columns[0], rows[1] - rows[0]
    plane[slice(*rows), slice(*columns)] = cv2.resize(content, size, interpolation=cv2.INTER_NEAREST)
    return plane


def draw_crops(axis: Any, crops: Sequence[Cut]) -> None:
    """The windows on a matplotlib axis in image pixels, each with its number in the order in which they were chosen."""
    for number, crop in enumerate(crops, 1):
        colour = COLOURS[(number - 1) % len(COLOURS)]
        (top, left), (vertical, horizontal) = crop.origin, crop.scale
        height, width = crop.canvas[0] / vertical, crop.canvas[1] / horizontal
        axis.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=1.2))
        (rows, columns) = crop.source
        middle = (columns[0] + columns[1]) / 2, (rows[0] + rows[1]) / 2
        bar = {"facecolor": colour, "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
        axis.text(*middle, str(number), color="white", fontsize=7, ha="center", va="center", bbox=bar, clip_on=True)


def _canvas(plan: Any, image: np.ndarray, cut: Cut) -> np.ndarray:
    canvas = np.empty((*cut.canvas, 3), np.uint8)
    plan.place(image, cut, canvas)
    return canvas
