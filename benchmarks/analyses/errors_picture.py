"""Figure 9: examples of each kind of mistake, cut out of their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.benchmarks.analyses.heatmap_picture import BRANCH_COLOURS
from cornernet.benchmarks.analyses.mistakes import FALSE, MISSED, Errors, Mistake, area
from cornernet.benchmarks.figures import Line2D, Rectangle, save, subplots
from cornernet.engine.reading.images import read_image

EXAMPLES = 4
TRUTH, FOUND = "#18d018", "#ff3030"


def draw_errors(errors: Errors, class_names: Sequence[str], output: Path, *, examples: int = EXAMPLES) -> None:
    """Write a row per kind that occurred: up to `examples` of the largest, each from another image where possible.

    Green: the object; dashed red: the box found; dots: the peaks of the class, above the threshold, in the branches'
    colours. Without mistakes nothing is written.
    """
    kinds = [("missed", kind) for kind in MISSED] + [("false", kind) for kind in FALSE]
    rows = [(side, kind, _examples(errors, side, kind, examples)) for side, kind in kinds]
    rows = [row for row in rows if row[2]]
    if not rows:
        return
    figure, axes = subplots(
        len(rows), examples, figsize=(1.7 * examples + 1.6, 1.85 * len(rows) + 0.5), squeeze=False, layout="constrained"
    )
    for line, (side, kind, mistakes) in zip(axes, rows):
        what = "missed objects" if side == "missed" else "false boxes"
        line[0].set_ylabel(f"{what}:\n{kind}\n({errors.count(side, kind)})", fontsize=8)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, mistake in zip(line, mistakes):
            _draw(axis, mistake, class_names[mistake.label])
    handles = [
        Line2D([], [], color=TRUTH, linewidth=2, label="object"),
        Line2D([], [], color=FOUND, linewidth=2, linestyle="--", label="box found"),
        *(
            Line2D([], [], color=_rgb(branch), marker="o", linestyle="", label=f"{branch} peaks")
            for branch in BRANCH_COLOURS
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    save(figure, output, few_colours=True)


def _examples(errors: Errors, side: str, kind: str, count: int) -> list[Mistake]:
    """The largest mistakes of a kind, another image each before an image comes again."""
    chosen = [mistake for mistake in errors.mistakes if (mistake.side, mistake.kind) == (side, kind)]
    chosen.sort(key=lambda mistake: -float(area(_boxes(mistake)[:1])[0]))
    seen: dict[Path, int] = {}
    rounds = []
    for mistake in chosen:
        rounds.append(seen.get(mistake.image, 0))
        seen[mistake.image] = rounds[-1] + 1
    order = sorted(range(len(chosen)), key=lambda number: rounds[number])
    return [chosen[number] for number in order[:count]]


def _boxes(mistake: Mistake) -> np.ndarray:
    """What the mistake is about first, then what it was mistaken for."""
    pair = (mistake.truth, mistake.found) if mistake.side == "missed" else (mistake.found, mistake.truth)
    return np.array([box for box in pair if box is not None])


def crop_window(boxes: np.ndarray, image_size: tuple[int, int], margin: float = 0.35) -> tuple[int, int, int, int]:
    """A square x1, y1, x2, y2 [px] around all boxes (n, 4), with room, moved into the image where it fits."""
    start, end = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(24.0, float((end - start).max()) * (1 + 2 * margin))
    corner = (start + end - side) / 2
    height, width = image_size
    x, y = (round(min(max(0.0, low), max(0.0, limit - side))) for low, limit in zip(corner.tolist(), (width, height)))
    return x, y, min(width, x + round(side)), min(height, y + round(side))


def _draw(axis: Any, mistake: Mistake, name: str) -> None:
    image = read_image(mistake.image)
    x1, y1, x2, y2 = crop_window(_boxes(mistake), (image.shape[0], image.shape[1]))
    axis.imshow(image[y1:y2, x1:x2, ::-1], extent=(x1, x2, y2, y1))
    for box, colour, style in ((mistake.truth, TRUTH, "-"), (mistake.found, FOUND, "--")):
        if box is not None:
            corner, (width, height) = (box[0], box[1]), box[2:] - box[:2]
            axis.add_patch(
                Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=1.8, linestyle=style)
            )
    for points, branch in zip((mistake.top_left, mistake.bottom_right), BRANCH_COLOURS):
        axis.scatter(points[:, 0], points[:, 1], s=20, color=_rgb(branch), edgecolors="white", linewidths=0.7, zorder=3)
    axis.set(xlim=(x1, x2), ylim=(y2, y1))
    # Every pair of the object's corners may be rejected without another in its place.
    axis.set_title(name if mistake.found is not None else f"{name}: no box", fontsize=7, pad=2)


def _rgb(branch: str) -> tuple[float, float, float]:
    red, green, blue = BRANCH_COLOURS[branch]
    return red / 255, green / 255, blue / 255
