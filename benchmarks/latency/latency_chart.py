"""The latency table as a picture: stacked bars by stage, one per model and batch size."""

from __future__ import annotations

from pathlib import Path

from cornernet.benchmarks.figures import Figure, plain_text, subplots
from cornernet.benchmarks.latency.latency_report import Report, Row
from cornernet.benchmarks.latency.stage_times import STAGES
from cornernet.engine.machine import summary
from cornernet.engine.results.picture_file import MARK

INK = "#333333"
COLOURS = {"read": "#7a9cc6", "place": "#b8cfe6", "run": "#e07a5f", "post": "#f2cc8f"}


def draw_chart(report: Report, path: Path) -> None:
    """Write `latency_figure` as PNG, with the machine beneath."""
    with plain_text():
        figure = latency_figure(report)
        height, width = report.settings["canvas"]
        figure.suptitle(
            f"Latency by stage, canvas {height}x{width}",
            fontsize=11,
            x=0.01,
            y=0.99,
            ha="left",
            va="top",
            weight="bold",
        )
        figure.supxlabel(summary(report.machine), fontsize=6.5, color="#666666")
        figure.savefig(path, dpi=150, metadata={"Software": MARK})


def latency_figure(report: Report) -> Figure:
    """Bars: p50 of the stages. Diamond: p50 end to end; line: up to its p99. All ms per image."""
    batches = list(dict.fromkeys(row.batch for row in report.rows))
    figure, axes = subplots(figsize=(9.5, 1.9 + 0.36 * len(report.rows) + 0.3 * len(batches)))
    # Slow outliers must not flatten the bars: what lies beyond the edge gets an arrow and a number.
    edge = 1.25 * max(max(_stages_ms(row), row.end_to_end["p50"]) for row in report.rows)
    places, labels = [], []
    for number, row in enumerate(report.rows):
        place = -(number + 0.7 * batches.index(row.batch))  # downwards, with a gap between batch sizes
        places.append(place)
        labels.append(f"{row.model}   batch {row.batch}")
        left = 0.0
        for stage in STAGES:
            width = row.stages[stage]["p50"]
            axes.barh(place, width, left=left, height=0.72, color=COLOURS[stage], label=None if number else stage)
            left += width
        middle, far = row.end_to_end["p50"], row.end_to_end["p99"]
        axes.plot([middle, min(far, edge)], [place, place], color=INK, linewidth=1, solid_capstyle="butt")
        name = None if number else "Detector.predict, p50 to p99"
        axes.plot(middle, place, marker="D", markersize=4, color=INK, linestyle="none", label=name)
        text = f"{row.images_per_s:.3g} img/s" + (f", {row.speed:.2f}x" if len(report.models) > 1 else "")
        if far > edge:
            axes.plot(edge, place, marker=">", markersize=5, color=INK, linestyle="none")
            text += f" (p99 beyond the edge: {far:.3g} ms)"
        where = (max(left, min(far, edge)), place)
        axes.annotate(text, where, (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.margins(y=0.02)
    axes.set_xlim(0, edge * 1.28)  # room for the texts
    axes.set_xlabel("ms per image (a batch's time divided by its images)", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda index: names[index] not in STAGES)  # stages first, in their order
    figure.legend(
        [handles[index] for index in order],
        [names[index] for index in order],
        loc="outside upper right",
        ncols=len(STAGES) + 1,
        frameon=False,
        fontsize=8,
    )
    return figure


def _stages_ms(row: Row) -> float:
    return sum(row.stages[stage]["p50"] for stage in STAGES)
