"""The looks of a CornerNet-Saccade as a picture: time by crops, stage by stage, and what fewer crops cost in AP."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cornernet.benchmarks.latency.saccade_steps import STAGES
from cornernet.engine.installation import missing
from cornernet.engine.machine import summary
from cornernet.engine.results.picture_file import MARK

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise missing("matplotlib", "the picture of the looks") from error

COLOURS = dict(zip(STAGES, ("#bbbbbb", "#4477aa", "#bbbb55", "#ee8866", "#44bb99")))
"""Told apart by people who see colours differently (Tol, 2021)."""


def draw_looks(report: Mapping[str, Any], path: Path) -> None:
    """Write a PNG: a panel a step, a bar a number of crops, its parts the stages; then AP, where measured, over crops,
    and over time."""
    steps = list(dict.fromkeys(row["step"] for row in report["rows"]))
    curves = (["crops"] + ["ms"] * bool(steps)) if report["accuracy"] else []
    panels = len(steps) + len(curves)
    figure = Figure(figsize=(2.6 * panels + 0.8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, step in zip(axes, steps):
        rows = [row for row in report["rows"] if row["step"] == step]
        below = [0.0] * len(rows)
        for stage in STAGES[1:]:
            heights = [row["stages_ms"][stage] for row in rows]
            axis.bar(range(len(rows)), heights, 0.75, below, color=COLOURS[stage], label=stage)
            below = [low + height for low, height in zip(below, heights)]
        axis.set_xticks(range(len(rows)), [f"{row['made']:.0f}" for row in rows])
        for place, row in enumerate(rows):
            axis.annotate(f"{row['ratio']:.2f}", (place, below[place]), ha="center", va="bottom", fontsize=7)
        axis.set_title(step, fontsize=9, loc="left")
        axis.set_xlabel("crops; above the bars: time / as published", fontsize=7)
        axis.set_ylabel("ms", fontsize=8)
    for axis, along in zip(axes[len(steps) :], curves):
        _draw_accuracy(axis, report, along)
    if steps:
        axes[0].legend(fontsize=7, frameon=False)
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    machine = textwrap.fill(summary(report["machine"]), 60 * panels)
    figure.supxlabel(machine, fontsize=6.5, color="#666666")
    figure.savefig(path, dpi=150, metadata={"Software": MARK})


def _draw_accuracy(axis: Any, report: Mapping[str, Any], along: str) -> None:
    """A line a step. along: "crops", or "ms", with the crops beside the points."""
    time_of = {(row["step"], row["crops"]): row["ms"] for row in report["rows"]}
    for step, colour in zip(dict.fromkeys(row["step"] for row in report["accuracy"]), ("#4477aa", "#ee8866")):
        rows = [row for row in report["accuracy"] if row["step"] == step]
        places = [row["crops"] if along == "crops" else time_of[step, row["crops"]] for row in rows]
        axis.plot(places, [row["AP"] for row in rows], "o-", color=colour, markersize=4, label=step)
        for place, row in zip(places, rows) if along == "ms" else ():
            axis.annotate(f"{row['crops']}", (place, row["AP"]), (4, -9), textcoords="offset points", fontsize=7)
    axis.set_title("AP by crops at most" if along == "crops" else "AP by time, crops beside", fontsize=9, loc="left")
    axis.set_xlabel(along, fontsize=7)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False, loc="lower right")
