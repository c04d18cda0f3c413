"""A survey as one page of HTML that needs nothing else: pictures are inside, nothing is fetched, no script runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from cornernet.engine.survey.survey import SplitSurvey, Survey

MARK = "<!-- made by cornernet dataset -->"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; margin: .5rem 2rem .5rem 0; }
th, td { text-align: right; padding: .15rem .8rem; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.bar { display: inline-block; height: .7rem; background: #4a78b5; vertical-align: baseline; }
.left { text-align: left; width: 9rem; } .row { display: flex; flex-wrap: wrap; }
li { margin: .3rem 0; overflow-wrap: anywhere; } img { max-width: 100%; }
"""


def survey_page(survey: Survey, sheets: Mapping[str, bytes]) -> str:
    """The page. sheets: title -> the content of a JPEG."""
    name = escape(survey.dataset) or "data set"
    height, width = survey.size
    parts = [
        "<!doctype html>",
        MARK,
        f'<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{name}</h1><p>{escape(survey.layout)}; sizes as on a canvas of {height}x{width} px (height x width).</p>",
        _overview(survey),
        _warnings(survey),
        _classes(survey),
    ]
    for split, found in survey.splits.items():
        title = f"Boxes of {escape(split)}"
        sides = _histogram("side on the canvas [px]", found.sides)
        parts.append(f'<h2>{title}</h2><div class="row">{sides}{_histogram("width : height", found.aspects)}</div>')
    for title, jpeg in sheets.items():
        source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
        parts.append(f'<h2>{escape(title)}</h2><img alt="{escape(title)}" src="{source}">')
    return "\n".join([*parts, "</body></html>", ""])


def _overview(survey: Survey) -> str:
    head = (
        "split",
        "pictures",
        "objects",
        "without objects",
        "crowd regions",
        "most in one",
        "smallest, median, largest [px]",
    )
    return _table(head, [[name, *overview_cells(found)] for name, found in survey.splits.items()])


def overview_cells(found: SplitSurvey) -> list[str]:
    """A split's row, as the terminal shows it too."""
    sizes = ", ".join(f"{width}x{height}" for height, width in found.picture_sizes)
    return [*map(str, (found.pictures, found.objects, found.empty, found.crowds, found.most)), sizes]


def _warnings(survey: Survey) -> str:
    listed = "".join(f"<li>{escape(line)}</li>" for line in survey.warnings) or "<li>None.</li>"
    return f"<h2>Warnings</h2><ul>{listed}</ul>"


def _classes(survey: Survey) -> str:
    head = ["class", *survey.splits]
    return f"<h2>Objects of each class</h2>{_table(head, class_rows(survey))}"


def class_rows(survey: Survey) -> list[list[str]]:
    """A row a class: its name, its objects in each split and their part of all; a dash where a split lacks it."""
    names = dict.fromkeys(name for found in survey.splits.values() for name in found.classes)
    rows = []
    for name in names:
        cells = []
        for found in survey.splits.values():
            count = found.classes.get(name)
            cells.append("-" if count is None else f"{count} ({count / max(1, found.objects):.1%})")
        rows.append([name, *cells])
    return rows


def _histogram(title: str, counts: Mapping[str, int]) -> str:
    most, total = max(counts.values(), default=0) or 1, sum(counts.values()) or 1
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td>{count}</td><td>{count / total:.1%}</td><td class="left">'
        f'<span class="bar" style="width:{8 * count / most:.2f}rem"></span></td></tr>'
        for name, count in counts.items()
    )
    return f"<table><tr><th>{escape(title)}</th><th>objects</th><th>part</th><th></th></tr>{rows}</table>"


def _table(head: list[str] | tuple[str, ...], rows: list[list[str]]) -> str:
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"
