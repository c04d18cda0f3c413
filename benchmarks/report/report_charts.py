"""Line charts of a report as SVG. Their legends are the page's: names of any length, in its letters and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cornernet.benchmarks.figures import LogLocator, NullLocator, plain_text, subplots, to_svg
from cornernet.benchmarks.latency.latency_chart import latency_figure
from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.report.report_inputs import Evaluation, Run
from cornernet.engine.scoring.curves import POINTS, Curve

INK = "#000000"
REST = "#999999"
LINES = ("#4477aa", "#ee6677", "#228833", "#ccaa22", "#33aacc", "#aa3377", "#ee8866", "#44aa99")
"""Told apart by people who see colours differently, on light and dark paper (after Tol, 2021)."""

TERMS = ("focal", "pull", "push", "offset")
GRID = np.linspace(0, 1, POINTS)


@dataclass(frozen=True)
class Line:
    """x, y of equal length. colour: of the line and of its place in the legend."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """svg: an element. legend: its lines, those in ink first; with `rest` a word for the many that have no colour."""

    svg: str
    legend: tuple[Line, ...] = ()
    rest: str = ""


def loss_chart(runs: dict[str, Run]) -> Chart | None:
    """Of one run the total loss and its four terms (Eq. 8), of several their totals, over optimiser steps."""
    rows = {name: [row for row in run.rows if "loss" in row] for name, run in runs.items()}
    rows = {name: points for name, points in rows.items() if points}

    def line(name: str, points: list[dict[str, float]], term: str, colour: str) -> Line:
        found = [(row["step"], row[term]) for row in points if row.get(term, 0) > 0]  # the scale is logarithmic
        return Line(name, [step for step, _ in found], [value for _, value in found], colour)

    if not rows:
        return None
    if len(rows) == 1:
        (points,) = rows.values()
        lines = [line(term, points, term, colour) for term, colour in zip(TERMS, LINES)]
        lines.append(line("total", points, "loss", INK))
    else:
        lines = [line(name, points, "loss", _colour(place)) for place, (name, points) in enumerate(rows.items())]
    return _draw(lines, "loss over optimiser steps", "optimiser step", "loss", log=True)


def ap_chart(runs: dict[str, Run]) -> Chart | None:
    """Validation AP, and AP50 dashed, over epochs."""
    lines = []
    for place, (name, run) in enumerate(runs.items()):
        measured = [row for row in run.rows if {"AP", "AP50", "epoch"} <= row.keys()]
        epochs = [row["epoch"] for row in measured]
        for key, dashed in (("AP", False), ("AP50", True)) if measured else ():
            title = key if len(runs) == 1 else f"{name}, {key}"
            lines.append(Line(title, epochs, [row[key] for row in measured], _colour(place), dashed))
    return _draw(lines, "validation AP over epochs", "epoch", "AP", unit=True, marks=True) if lines else None


def precision_chart(evaluation: Evaluation, colours: dict[str, str]) -> Chart:
    """Precision over recall at IoU 0.5, a line a class."""
    lines = [_curve(curve, curve.precision, colours) for curve in _drawn(evaluation.curves)]
    return _draw(lines, "precision over recall", "recall", "precision", unit=True, square=True)


def f1_chart(evaluation: Evaluation, colours: dict[str, str]) -> Chart:
    """F1 over the score threshold at IoU 0.5, a line a class, the best one of all together marked."""
    lines = [_curve(curve, curve.F1, colours) for curve in _drawn(evaluation.curves)]
    best = next(((one.threshold, one.F1) for one in evaluation.best_f1 if one.category_id is None), None)
    return _draw(lines, "F1 over the threshold", "threshold", "F1", unit=True, square=True, best=best)


def stage_chart(report: Latency) -> str:
    """Latency by stage, an SVG element."""
    with plain_text():
        return to_svg(latency_figure(report), "latency by stage of each model and batch size")


def class_colours(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """A colour for each class, the same in all charts; of more classes than colours the most frequent have one."""
    objects: dict[str, int] = {}
    for entry in (entry for evaluation in evaluations for entry in evaluation.per_class):
        objects[entry.name] = max(objects.get(entry.name, 0), entry.objects)
    most = sorted(objects, key=lambda name: -objects[name])[: len(LINES)]
    return dict(zip([name for name in objects if name in most], LINES))


def _drawn(curves: Sequence[Curve]) -> list[Curve]:
    """All together last, on top."""
    return sorted(curves, key=lambda curve: curve.category_id is None)


def _curve(curve: Curve, values: Sequence[float], colours: dict[str, str]) -> Line:
    if curve.category_id is None:
        return Line("all classes", GRID, values, INK)
    return Line(curve.name, GRID, values, colours.get(curve.name, REST))


def _colour(place: int) -> str:
    return LINES[place % len(LINES)]


def _draw(
    lines: Sequence[Line],
    label: str,
    x: str,
    y: str,
    *,
    log: bool = False,
    unit: bool = False,
    square: bool = False,
    marks: bool = False,
    best: tuple[float, float] | None = None,
) -> Chart:
    """unit: y from 0 to 1; square: x too. best: a point to mark."""
    with plain_text():
        figure, axes = subplots(figsize=(5.2, 3.3))
        for line in lines:
            thick = 1.8 if line.colour == INK else 0.8 if line.colour == REST else 1.3
            axes.plot(
                line.x,
                line.y,
                color=line.colour,
                linewidth=thick,
                alpha=0.45 if line.colour == REST else 1,
                linestyle="--" if line.dashed else "-",
                marker="o" if marks else None,
                markersize=3.5,
            )
        if best is not None:
            axes.axvline(best[0], color="#666666", linewidth=0.9, linestyle=":")
            axes.plot(*best, marker="o", markersize=6, markerfacecolor="none", markeredgecolor=INK)
            side = -8 if best[0] > 0.5 else 8
            axes.annotate(f"{best[1]:.3f} at {best[0]:.3f}", best, (side, 8), textcoords="offset points",
                          ha="right" if side < 0 else "left", fontsize=9)  # fmt: skip
        _style(axes, x, y, log=log, unit=unit, square=square)
        svg = to_svg(figure, label)
    named = [line for line in lines if line.colour != REST]
    rest = len(lines) - len(named)
    inked_first = sorted(named, key=lambda line: line.colour != INK)
    return Chart(svg, tuple(inked_first), f"{rest} more classes" if rest else "")


def _style(axes: Any, x: str, y: str, *, log: bool, unit: bool, square: bool) -> None:
    axes.set(xlabel=x, ylabel=y)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    if unit:
        axes.set_ylim(-0.02, 1.04)
    if square:
        axes.set_xlim(-0.01, 1.01)
    else:  # there is no half of a step or an epoch
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#666666")
    axes.tick_params(color="#666666", labelcolor="#333333", labelsize=9)
