"""Put runs, evaluations and benchmarks on one page."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable

EXAMPLES = """
cornernet report runs/mine -o report.html
# a run, a model with the evaluations beside it, and a benchmark
cornernet report runs/mine model.onnx benchmark -o report.html
# two models side by side
cornernet report runs/plain runs/tuned -o compared.html
"""


def run(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs or of results, JSON files of evaluate, benchmark and analyse, model files."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, an HTML file.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its heading.")] = "CornerNet report",
) -> None:
    """Write one HTML file with charts and pictures in it: losses, AP per class, precision and recall, F1 over the
    threshold, confusion, causes of errors, latency, models and machine, several models side by side.

    Nothing is measured: what other verbs wrote is shown. A section without data names the command that makes it.
    """
    from cornernet.benchmarks.report.report_inputs import read_inputs
    from cornernet.benchmarks.report.report_page import render_report
    from cornernet.outputs import check_outputs, marked_picture, write_text

    inputs = read_inputs(sources)
    check_outputs({output: marked_picture}, inputs.files())
    page = render_report(inputs, title=title)
    write_text(output, page)
    for problem in inputs.problems:
        typer.secho(f"left out: {problem}", fg=typer.colors.YELLOW, err=True)
    typer.echo(f"{len(inputs.files())} files -> {printable(output)}, {len(page.encode()) / 1e6:.1f} MB")
