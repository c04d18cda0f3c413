"""Figures as PNG or SVG. Who draws imports matplotlib's parts from this file, which says what to do without them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from cornernet.engine.installation import missing
from cornernet.engine.results.picture_file import MARK

try:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D as Line2D
    from matplotlib.patches import Rectangle as Rectangle
    from matplotlib.ticker import LogLocator as LogLocator
    from matplotlib.ticker import NullLocator as NullLocator
    from PIL import Image  # comes with matplotlib
    from PIL.PngImagePlugin import PngInfo
except ModuleNotFoundError as error:
    raise missing("matplotlib", "a chart") from error

DPI = 110
COLOURS = ("#4477aa", "#ee8866", "#44bb99", "#aa4499", "#bbbb55", "#555555")
"""Told apart by people who see colours differently (Tol, 2021)."""


@contextmanager
def plain_text() -> Iterator[None]:
    """Names in a figure that is made here stay as they are: a dollar sign in one would start a formula.

    In an SVG text is text, and the same figure gives the same file.
    """
    with rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "cornernet"}):
        yield


def subplots(
    *grid: int, figsize: tuple[float, float], layout: Literal["constrained"] = "constrained", squeeze: bool = True
) -> tuple[Figure, Any]:
    """Without pyplot, which would choose how all figures of the process are shown, a notebook's too."""
    figure = Figure(figsize=figsize, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(*grid, squeeze=squeeze)


def save(figure: Any, output: Path, *, few_colours: bool = False) -> None:
    """Write a figure as PNG. few_colours: 256; many photographs then need a fifth of the space."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    picture = Image.open(drawn).convert("RGB")
    output.parent.mkdir(parents=True, exist_ok=True)
    shown = picture.quantize(256, dither=Image.Dither.NONE) if few_colours else picture
    mark = PngInfo()
    mark.add_text("Software", MARK)
    shown.save(output, format="PNG", optimize=True, pnginfo=mark)


PAGE_COLOURS = {"#000000": "var(--ink)", "#333333": "var(--ink)", "#666666": "var(--muted)", "#dddddd": "var(--rule)"}
"""Black and greys of a figure -> variables of the page that it stands in, so that it is read on dark paper too."""


def to_svg(figure: Any, label: str) -> str:
    """The <svg> element, without what a page has already: header, ids that nothing refers to, the paper's colour.

    label: what it shows, plain text, for those who cannot see it.
    """
    drawn = io.StringIO()
    facts = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(drawn, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.02, metadata=facts)
    text = drawn.getvalue()
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r' id="[a-zA-Z.0-9]+_\d+"', "", svg)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
