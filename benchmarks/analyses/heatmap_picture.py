"""Figure 10: boxes and corners over the heatmaps that they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cornernet.benchmarks.analyses.analysis_charts import Rectangle, save, subplots
from cornernet.benchmarks.analyses.observe import Network, Observation, corners
from cornernet.benchmarks.analyses.quadrants import peaks_of
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.draw import class_colour

BRANCH_COLOURS = {"top-left": (255, 120, 0), "bottom-right": (0, 140, 255)}
"""RGB"""


def draw_heatmaps(network: Network, seen: Observation, output: Path, *, threshold: float = 0.5) -> Detections:
    """Write three panels: the boxes on the image, and the heatmap of each branch with its peaks and the boxes.

    Boxes and peaks of score `threshold` or more. A heatmap is shown as its highest probability over the classes.
    Returns the boxes.
    """
    found = network.detect(seen).above(threshold)
    height, width = seen.image.shape[:2]
    panel = (4.2 * min(1.6, max(0.6, width / height)), 4.2)
    figure, axes = subplots(1, 3, figsize=(3 * panel[0], panel[1] + 0.4), layout="constrained")
    axes[0].imshow(seen.image[:, :, ::-1], extent=(0, width, height, 0))
    axes[0].set_title(f"{len(found)} boxes of score {threshold:g} or more", fontsize=10)
    draw_boxes(axes[0], found, names=True)
    branches = zip(BRANCH_COLOURS, (seen.heads.top_left_heatmap, seen.heads.bottom_right_heatmap))
    for axis, (branch, logits), found_corners in zip(axes[1:], branches, corners(seen.heads, network.card.decoder)):
        probability = logits[0].sigmoid().amax(dim=0).numpy()
        shown = over_image(seen, probability, BRANCH_COLOURS[branch])
        axis.imshow(shown, extent=(0, width, height, 0))
        draw_boxes(axis, found, names=False)
        peaks = peaks_of(found_corners)
        strong = peaks.scores >= threshold
        x, y = seen.to_pixels(peaks.xy[strong]).T
        colours = [_rgb(label) for label in peaks.labels[strong].tolist()]
        axis.scatter(x, y, s=34, c=colours or None, edgecolors="white", linewidths=1.1, zorder=3, clip_on=False)
        axis.set_title(f"{branch} heatmap; {int(strong.sum())} corners above {threshold:g}", fontsize=10)
    for axis in axes:
        axis.set(xlim=(0, width), ylim=(height, 0))
        axis.axis("off")
    save(figure, output)
    return found


def over_image(seen: Observation, values: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the image, pale and grey, tinted where `values` (h, w) in [0, 1] of the heatmap are high."""
    return tinted(seen.image, to_image_plane(seen, values), colour)


def tinted(image: np.ndarray, values: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """image (H, W, 3) uint8 BGR, values (H, W) float32 in [0, 1] -> (H, W, 3) uint8 RGB, see `over_image`."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) * 0.45 + 25
    # An exponent below 1, so that a probability of 0.1 can be seen beside one of 1.
    strength = values[:, :, None] ** 0.7
    mixed = grey[:, :, None] * (1 - strength) + np.array(colour, np.float32) * strength
    return mixed.clip(0, 255).astype(np.uint8)


def to_image_plane(seen: Observation, values: np.ndarray) -> np.ndarray:
    """A map (h, w) of the canvas -> (H, W) float32 over the image, each cell a block of pixels."""
    placement = seen.placement
    canvas = cv2.resize(values, placement.canvas[::-1], interpolation=cv2.INTER_NEAREST)
    height, width = placement.resized
    content = canvas[placement.top : placement.top + height, placement.left : placement.left + width]
    return cv2.resize(content, placement.image[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32)


def draw_boxes(axis: Any, found: Detections, *, names: bool) -> None:
    """Boxes on a matplotlib axis in image pixels; `names`: class and score on a bar inside the top-left corner."""
    for box, label, score, name in zip(found.boxes, found.labels.tolist(), found.scores, found.names):
        colour, (x1, y1, x2, y2) = _rgb(label), box
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
        if names:
            bar = {"facecolor": colour, "edgecolor": "none", "pad": 1.2, "alpha": 0.9}
            axis.text(x1, y1, f"{name} {score:.2f}", color="white", fontsize=7, va="top", bbox=bar, clip_on=True)


def _rgb(label: int) -> tuple[float, float, float]:
    blue, green, red = class_colour(label)
    return red / 255, green / 255, blue / 255
