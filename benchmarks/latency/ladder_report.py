"""The ladder as Markdown and as a picture, both from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cornernet.engine.installation import missing
from cornernet.engine.machine import summary
from cornernet.engine.results.picture_file import MARK

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise missing("matplotlib", "the picture of the ladder") from error

MEANING = (
    '"As published" is our own network run in torch eager the way its authors publish it: NCHW float32, batch norms as '
    "layers, corner pooling as a cumulative maximum, six dense heads; the official code itself no longer builds. "
    "ms: one canvas, uint8 to boxes; ratio: median over rounds of the time over the first row's in the same round; "
    "JPEG: from a 480x640 file to final boxes; images/s: files, eight at a time."
)
_COLOURS = {"as": "#888888", "batch": "#888888", "heads": "#888888", "ONNX": "#7a9cc6", "OpenVINO,": "#e07a5f"}


def render(report: Mapping[str, Any]) -> str:
    """Tables: a ladder for each network, then growth."""
    settings = report["settings"]
    lines = [
        f"{summary(report['machine'])}; {', '.join(settings['flags'])}. {settings['rounds']} rounds in turns, each "
        "step in a process of its own.",
        "",
        MEANING,
        "",
    ]
    for network in report["networks"]:
        lines += [*_ladder(network, settings["price_per_hour"]), ""]
    for network in report["networks"]:
        for growth in network["growth"]:
            lines += [*_growth(network["name"], growth), ""]
    return "\n".join(lines).rstrip() + "\n"


def _ladder(network: Mapping[str, Any], price: float | None) -> list[str]:
    height, width = network["canvas"]
    weights = "trained weights" if network["trained"] else "random weights"
    scored = any(row["AP"] is not None for row in network["rows"])
    heads = ["step", "ms", "ratio", "JPEG ms", "images/s"]
    heads += [f"cost of a million at {price:g} an hour"] if price is not None else []
    heads += ["AP"] if scored else []
    lines = [f"**{network['name']}**, {weights}, {height}x{width}:", "", _line(heads), _line(["---"] * len(heads))]
    for row in network["rows"]:
        cells = [row["step"], _number(row["ms"]), f"{row['ratio']:.2f}", _number(row["jpeg_ms"])]
        cells += [_number(row["images_per_s"])]
        cells += [_number(row["cost_per_million"])] if price is not None else []
        cells += ["-" if row["AP"] is None else f"{row['AP']:.3f}"] if scored else []
        lines.append(_line(cells))
    return lines


def _growth(name: str, growth: Mapping[str, Any]) -> list[str]:
    titles = {
        "ms_by_side": "ms by canvas side [px]",
        "ms_by_batch": "ms per canvas of 255x255 by batch",
        "images_per_s_by_images": "images/s by number of JPEG files",
    }
    lines = [f"Growth of {name}, {growth['step']}:", "", _line(["", *[""] * 4]), _line(["---"] * 5)]
    for key, title in titles.items():
        cells = [f"{at}: {_number(value)}" for at, value in growth[key].items()]
        lines.append(_line([title, *cells, *[""] * (4 - len(cells))]))
    return lines


def draw_ladder(report: Mapping[str, Any], path: Path) -> None:
    """Write a PNG: one panel a network, a bar a step, its length the time relative to the published way."""
    networks = report["networks"]
    steps = max(len(network["rows"]) for network in networks)
    figure = Figure(figsize=(4.2 * len(networks) + 1.2, 0.9 + 0.34 * steps), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks):
        for place, row in enumerate(network["rows"]):
            axes.barh(-place, row["ratio"], height=0.7, color=_COLOURS.get(row["step"].split()[0], "#e07a5f"))
            text = f"{_number(row['ms'])} ms" + (f", AP {row['AP']:.3f}" if row["AP"] is not None else "")
            axes.annotate(text, (row["ratio"], -place), (4, 0), textcoords="offset points", va="center", fontsize=7)
        axes.set_yticks([-place for place in range(len(network["rows"]))], [row["step"] for row in network["rows"]])
        axes.tick_params(labelsize=8)
        axes.set_xlim(0, 1.5 * max(row["ratio"] for row in network["rows"]))
        axes.set_title(network["name"], fontsize=9, loc="left")
        axes.set_xlabel("time / as published", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(summary(report["machine"]), fontsize=6.5, color="#666666")
    figure.savefig(path, dpi=150, metadata={"Software": MARK})


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Three significant digits, as many as a timing carries."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
