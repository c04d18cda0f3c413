"""One set of rows becomes terminal tables, JSON and Markdown; the README shows the committed results."""

import json

import pytest
from rich.console import Console

from cornernet.benchmarks.analyses.analyses_readme import ANALYSES, DATASETS, RESULTS, render
from cornernet.benchmarks.analyses.analyses_report import Report, Table, difference, shown
from cornernet.engine.errors import DatasetError

TABLE = Table("A table", ("what", "AP", "boxes"), (("first", 0.1234, 12), ("second", -1.0, None)))
REPORT = Report("iou", "cornernet analyse iou m d", {"images": 3}, (TABLE,), ("a note",))


def test_cells_are_per_cent_with_one_digit_or_a_dash():
    assert [shown(cell) for cell in (0.1234, 1.0, 0.0, -1.0, None, 7, "x")] == [
        "12.3",
        "100.0",
        "0.0",
        "-",
        "-",
        "7",
        "x",
    ]
    assert (difference(0.5, 0.45), difference(0.4, 0.5), difference(-1.0, 0.5)) == ("+5.0", "-10.0", "-")


def test_a_report_survives_its_file(tmp_path):
    REPORT.write(tmp_path / "deep" / "iou.json")
    assert Report.read(tmp_path / "deep" / "iou.json") == REPORT


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"tables": 3})])
def test_another_file_is_refused_by_name(tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(DatasetError, match=r"other\.json.*cornernet analyse"):
        Report.read(file)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells, 3 columns"):
        Table("t", ("a", "b", "c"), (("x", 1),))


def test_markdown_and_terminal_show_the_same_cells():
    markdown = REPORT.to_markdown()
    assert "| first | 12.3 | 12 |" in markdown and "| second | - | - |" in markdown
    assert "cornernet analyse iou m d" in markdown and "a note" in markdown
    console = Console(width=100, record=True)
    REPORT.print(console)
    text = console.export_text()
    assert all(cell in text for cell in ("A table", "first", "12.3", "second", "a note"))


def results():
    return sorted(RESULTS.rglob("*.json"))


def test_the_readme_shows_the_committed_results(root):
    assert results() and all(file.parent.name in DATASETS and file.stem in ANALYSES for file in results())
    readme = (root / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert render() in readme, "run: python -m cornernet.benchmarks.analyses.analyses_readme"
    for file in results():
        for table in Report.read(file).tables:
            assert all(shown(cell) in readme for row in table.rows for cell in row)


def test_committed_results_hold_no_path_of_the_machine_that_measured_them():
    for file in results():
        report = Report.read(file)
        words = [*report.command.split(), *map(str, report.settings.values())]
        assert not [word for word in words if word.startswith(("/", "~"))]
