"""Charts of measured numbers. Every bar carries its value, so a chart can be read without its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cornernet.benchmarks.analyses.mistakes import FALSE, MISSED, Errors
from cornernet.benchmarks.analyses.quadrants import BRANCHES, QUADRANTS, QuadrantAP
from cornernet.benchmarks.figures import COLOURS, save, subplots


def bar_chart(groups: Mapping[str, Mapping[str, float]], columns: Sequence[str], title: str, output: Path) -> None:
    """Bars of `groups` (name -> column -> fraction) side by side in each column, in per cent.

    Below 0 (not measured): no bar; a column without any bar is left out.
    """
    columns = [column for column in columns if any(values[column] >= 0 for values in groups.values())]
    width = 0.8 / len(groups)
    size = (max(6.4, 0.42 * len(groups) * len(columns) + 1.5), 3.8)
    figure, axis = subplots(figsize=size, layout="constrained")
    for number, (name, values) in enumerate(groups.items()):
        at = np.arange(len(columns)) + (number - (len(groups) - 1) / 2) * width
        heights = [100 * max(0.0, values[column]) for column in columns]
        bars = axis.bar(at, heights, 0.92 * width, label=name, color=COLOURS[number % len(COLOURS)])
        texts = [f"{height:.1f}" if values[column] >= 0 else "-" for height, column in zip(heights, columns)]
        axis.bar_label(bars, texts, fontsize=7, padding=1)
    axis.set_xticks(range(len(columns)), columns)
    highest = 100 * max(values[column] for values in groups.values() for column in columns)
    axis.set(ylabel="per cent", ylim=(0, min(108, 1.15 * highest + 1)), title=title)
    axis.grid(axis="y", alpha=0.25)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if len(groups) > 1:
        figure.legend(
            loc="outside lower center", ncols=len(groups) if len(groups) < 5 else 3, frameon=False, fontsize=8
        )
    save(figure, output)


def quadrant_chart(measured: Mapping[str, QuadrantAP], output: Path) -> None:
    """One square per model and branch, cut into the quadrants of the image, each with its mAP."""
    figure, axes = subplots(
        len(measured), len(BRANCHES), figsize=(6.4, 3.1 * len(measured) + 0.3), squeeze=False, layout="constrained"
    )
    values = [ap for branches in measured.values() for by_quadrant in branches.values() for ap in by_quadrant.values()]
    low, high = min(v for v in values if v >= 0), max(values)
    for row, (name, branches) in zip(axes, measured.items()):
        for axis, branch in zip(row, BRANCHES):
            table = np.array([branches[branch][quadrant] for quadrant in QUADRANTS]).reshape(2, 2)
            shown = axis.imshow(np.where(table < 0, np.nan, table), vmin=low - 0.05, vmax=high + 0.05, cmap="YlGnBu")
            for (y, x), value in np.ndenumerate(table):
                bright = value > (low + high) / 2
                text = f"{100 * value:.1f}" if value >= 0 else "-"
                axis.text(x, y, text, ha="center", va="center", fontsize=15, color="white" if bright else "black")
            whole = branches[branch]["all"]
            axis.set_title(f"{branch}, {name}\nwhole image {100 * whole:.1f}", fontsize=9)
            axis.set_xticks([0, 1], ["left", "right"], fontsize=8)
            axis.set_yticks([0, 1], ["top", "bottom"], fontsize=8)
            axis.tick_params(length=0)
            shown.axes.spines[:].set_visible(False)
    figure.suptitle("Corner mAP by quadrant of the image", fontsize=11)
    save(figure, output)


def error_chart(errors: Errors, output: Path) -> None:
    """Causes of missed objects and of false boxes, as numbers."""
    figure, axes = subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    sides = (("missed", MISSED, errors.objects, "objects missed"), ("false", FALSE, errors.boxes, "boxes false"))
    for axis, (side, kinds, total, what), colour in zip(axes, sides, COLOURS):
        counts = [errors.count(side, kind) for kind in kinds]
        bars = axis.barh(kinds, counts, color=colour)
        axis.bar_label(bars, fontsize=8, padding=2)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_title(f"{sum(counts)} of {total} {what}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    save(figure, output)
