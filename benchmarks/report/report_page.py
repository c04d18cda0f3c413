"""A report as one HTML file that asks for nothing else: styles and pictures are in it, scripts there are none."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cornernet.benchmarks.report.report_inputs import Inputs, short_names
from cornernet.benchmarks.report.report_sections import make_sections
from cornernet.benchmarks.report.report_tables import glance
from cornernet.engine.installation import missing
from cornernet.engine.printable import printable
from cornernet.engine.results.picture_file import MARK

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ModuleNotFoundError as error:
    raise missing("jinja2", "a report") from error


def render_report(inputs: Inputs, *, title: str = "CornerNet report", now: datetime | None = None) -> str:
    """The whole page. Names in it come from files of unknown origin: all of them are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A lone surrogate in a name would end the writing of the page.
        finalize=lambda value: printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    sections = make_sections(inputs)
    return environment.get_template("page.html.jinja").render(
        title=title,
        mark=MARK,
        made=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("cornernet"),
        glance=glance(inputs),
        sections=sections,
        problems=inputs.problems,
        files=short_names(inputs.files()),
        svg=Markup,
    )
