"""The measured tables of benchmarks/README.md, rendered from the committed results.

`python -m cornernet.benchmarks.analyses.analyses_readme` writes them. A test compares the README with `render`,
so no number in it can be typed by hand or go stale.
"""

from __future__ import annotations

from pathlib import Path

from cornernet.benchmarks.analyses.analyses_report import Report
from cornernet.engine.errors import DatasetError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "analyses"
README = RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- analyses: generated below -->", "<!-- analyses: generated above -->"

DATASETS = {"shapes": "Drawn shapes", "bccd": "Blood cells (BCCD)"}
ANALYSES = {
    "ablations": "Tables 1 and 2: ablations",
    "quadrants": "Table 3: corners by quadrant",
    "backbones": "Table 4: backbone and anchors",
    "iou": "Table 5: quality of the boxes",
    "ground-truth": "Table 6: error analysis",
    "errors": "Figure 9: mistakes by cause",
}


def render() -> str:
    """Every committed report, data set by data set, in the paper's order."""
    sections = []
    for folder, dataset in DATASETS.items():
        found = [(title, RESULTS / folder / f"{name}.json") for name, title in ANALYSES.items()]
        parts = [_section(title, file) for title, file in found if file.exists()]
        if parts:
            sections.append("\n".join([f"## {dataset}", "", *parts]))
    return "\n".join(sections)


def _section(title: str, file: Path) -> str:
    report = Report.read(file)
    run = "; ".join(f"{key.replace('_', ' ')} {_text(value)}" for key, value in report.settings.items())
    pictures = sorted(file.parent.glob(f"{file.stem}*.png"))
    shown = [f"![{title}]({picture.relative_to(README.parent).as_posix()})\n" for picture in pictures]
    return "\n".join([f"### {title}", "", f"The run: {run}.", "", report.to_markdown(), *shown])


def _text(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def write() -> None:
    """Put the rendered tables between the marks of the README. Raises DatasetError if it lost its marks."""
    text = README.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise DatasetError(f"{README}: expected the lines '{BEGIN}' and '{END}' around the generated tables")
    README.write_text(f"{head}{BEGIN}\n\n{render()}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    write()
