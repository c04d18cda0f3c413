"""What the analyses share on the command line: outputs checked before the work, a bar, tables and JSON at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cornernet.engine.printable import printable
from cornernet.options import progress_bars

if TYPE_CHECKING:
    from cornernet.benchmarks.analyses.analyses_report import Report, Table


def check_output(output: Path, analysis: str, charts: Sequence[str] = (), *, inputs: Sequence[Path | None]) -> None:
    """Before the work: neither the report nor the charts (default: one of the analysis' name) are somebody else's."""
    from cornernet.outputs import Ours, check_outputs, json_starting_with, marked_picture

    report: dict[Path, Ours] = {output / f"{analysis}.json": json_starting_with("analysis")}
    pictures = {output / f"{name}.png": marked_picture for name in charts or (analysis,)}
    check_outputs(report | pictures, [path for path in inputs if path is not None])


def names_of(model: Path, against: Path | None) -> dict[str, Path]:
    """Models by the last part in which their paths differ: runs/full/last and runs/plain/last are full and plain."""
    if against is None:
        return {model.stem: model}
    first, second = (path.with_suffix("").parts for path in (against, model))
    for one, other in zip(reversed(first), reversed(second)):
        if one != other:
            return {one: against, other: model}
    return {str(against): against, str(model): model}


def settings_of(dataset: Path, split: str, data: Any, **more: Any) -> dict[str, Any]:
    """What decides the numbers: data and options, without the paths of this machine."""
    return {
        "dataset": dataset.resolve().name,
        "split": split,
        "images": len(data.samples),
        "objects": int(sum((~sample.crowd).sum() for sample in data.samples)),
        **{key: value for key, value in more.items() if value is not None},
    }


@contextmanager
def progress_over(data: Any, name: str) -> Iterator[Callable[[int], None]]:
    """A bar over the images of a data set; gives what advances it."""
    with progress_bars() as bars:
        task = bars.add_task(name, total=len(data.samples))
        yield lambda count: bars.advance(task, count)


def finish(
    analysis: str, settings: dict[str, Any], tables: tuple[Table, ...], output: Path, *, notes: tuple[str, ...] = ()
) -> Report:
    """Print the tables, write the JSON."""
    import shlex
    import sys

    from cornernet.benchmarks.analyses.analyses_report import Report
    from cornernet.terminal import make_console

    report = Report(analysis, shlex.join(["cornernet", *sys.argv[1:]]), settings, tables, notes)
    report.print(make_console())
    report.write(output / f"{analysis}.json")
    typer.echo(f"written: {printable(output / analysis)}.json and pictures in {printable(output)}", err=True)
    return report
