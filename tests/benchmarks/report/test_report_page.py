"""The page: whole, asking for nothing, right in its numbers, and unmoved by names that are code elsewhere."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from reported_files import noise, write_benchmark, write_evaluation, write_everything, write_run
from typer.testing import CliRunner

from cornernet.benchmarks.report.report_inputs import read_inputs
from cornernet.benchmarks.report.report_page import render_report
from cornernet.benchmarks.report.report_sections import COMMANDS
from cornernet.benchmarks.report.report_tables import DASH
from cornernet.cli import app
from cornernet.engine.results.picture_file import write_picture

EVIL = ("<script>alert(1)</script>", "$\\frac{", "_hidden", '"><img src=x onerror=alert(1)>', "half \ud83d", "a & b")
VOID = {"meta", "link", "img", "br", "path", "use"}


class Page(HTMLParser):
    """What a page is made of: (tag, attributes), the text of each table's cells, and whether it is balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.tables, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text.strip())
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += text

    def table(self, *heads):
        """Rows by their name, of the first table with these heads."""
        return next(
            {row[0]: row[1:] for row in table} for table in self.tables if any(set(heads) <= set(row) for row in table)
        )


def page_of(*sources) -> Page:
    return Page(render_report(read_inputs(sources)))


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return write_everything(tmp_path_factory.mktemp("all"))


@pytest.fixture(scope="module")
def page(everything):
    return page_of(everything)


def test_nothing_is_fetched_and_nothing_runs(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form"), tag
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
        assert "url(" not in attributes.get("style", "") or "url(#" in attributes["style"]
    (style,) = [text for text in page.texts if ":root" in text]
    assert "url(" not in style and "@import" not in style
    assert ("meta", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in [
        (tag, attributes.get("content")) for tag, attributes in page.tags
    ]


def test_what_a_page_refers_to_is_there_once(page):
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes and tag not in ("path", "clippath")]
    assert len(ids) == len(set(ids))
    every = {attributes.get("id") for _, attributes in page.tags}
    linked = {attributes[name][1:] for _, attributes in page.tags for name in ("href", "xlink:href")
              if attributes.get(name, "").startswith("#")}  # fmt: skip
    assert linked <= every and {"training", "accuracy", "latency"} <= linked


def test_every_section_is_filled_and_the_numbers_are_those_of_the_files(page, everything):
    assert not any("No data" in text for text in page.texts)
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 5 and sum(tag == "img" for tag, _ in page.tags) == 2
    content = json.loads((everything / "model.onnx.farm.val.json").read_text())
    classes = page.table("class", "AR100")
    for entry in content["per_class"]:
        numbers = [f"{entry[key]:.3f}" for key in ("AP", "AP50", "AR100")]
        assert classes[entry["name"]] == [str(entry["objects"]), *numbers]
    best = content["best_f1"][0]
    assert page.table("threshold", "recall")["all classes"][:2] == [f"{best['threshold']:.3f}", f"{best['F1']:.3f}"]
    assert any(f"{best['F1']:.3f} at {best['threshold']:.3f}" in text for text in page.texts)
    confused = page.table("there", "nothing")
    for name, counts in zip([*content["confusion"]["names"], "nothing"], content["confusion"]["counts"]):
        assert [cell.replace("·", "0") for cell in confused[name]] == [str(count) for count in counts]
    glance = page.table("model", "best F1")
    accuracy = [content["values"]["AP"], content["values"]["AP50"], best["F1"], best["threshold"]]
    speed = ["4.60", "909", "4.1", "998,684"]
    assert glance["model.onnx"] == ["farm val", *(f"{value:.3f}" for value in accuracy), *speed]
    assert glance["half.onnx"][1:5] == [DASH] * 4
    assert page.table("stage, p50") and page.table("package", "benchmark.json")["numpy"]
    assert page.table("objects", "number")["missed both corners"] == ["3", "30.0"]


def test_accuracy_and_speed_share_a_row_only_where_the_file_was_the_same(tmp_path):
    write_evaluation(tmp_path / "a.json", model="m.onnx", sha256="a" * 64)
    write_benchmark(tmp_path / "b.json", models=(("m.onnx", "b" * 64),))
    table = next(table for table in page_of(tmp_path).tables if "best F1" in table[0])
    assert [row[0] for row in table[1:]] == ["m.onnx", "m.onnx"]
    assert table[1][6:] == [DASH] * 4 and table[2][6] == "4.60" and table[2][2:6] == [DASH] * 4


def test_several_models_stand_side_by_side(tmp_path):
    contents = [write_evaluation(tmp_path / f"{n}.json", model=f"{n}/m.onnx", seed=seed) for seed, n in enumerate("ab")]
    write_run(tmp_path / "one")
    write_run(tmp_path / "two", level=2)
    page = page_of(tmp_path)
    row = page.table("class", "AR100")["cat"]
    own = [next(entry for entry in content["per_class"] if entry["name"] == "cat") for content in contents]
    assert [row[1], row[5]] == [f"{entry['AP']:.3f}" for entry in own]
    assert {"a/m.onnx", "b/m.onnx"} <= set(page.table("model", "AR100"))
    assert {"one", "two"} <= set(page.table("run", "steps")) and {"one", "two"} <= set(page.texts)


def test_a_section_without_data_says_which_command_makes_it(tmp_path):
    write_run(tmp_path / "run")
    page = page_of(tmp_path / "run")
    shown = [text for text in page.texts if text.startswith("cornernet ")]
    assert shown == [command.strip("`") for title, command in COMMANDS.items() if title != "Training"]


def test_names_that_are_code_elsewhere_are_text(tmp_path):
    evil = "<b>$x_{</b>"
    write_evaluation(tmp_path / "e.json", names=EVIL, model=f"{evil}.onnx", sha256="0" * 64)
    write_benchmark(tmp_path / "b.json", models=((evil, "2" * 64), ("--><script>", "3" * 64)))
    write_run(tmp_path / "<i>run")
    text = render_report(read_inputs([tmp_path]), title=EVIL[0])
    text.encode("utf-8")
    page = Page(text)
    assert not {"script", "b", "i>run"} & {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert {*EVIL[:4], "half \\ud83d", "a & b"} <= set(page.table("class", "AR100"))
    for name in (*EVIL[:4], "half \\ud83d"):
        assert page.texts.count(name) >= 2, name  # in tables and in legends


def test_of_many_classes_the_most_frequent_have_colours_and_the_commonest_confusions_are_listed(tmp_path):
    content = write_evaluation(tmp_path / "e.json", names=[f"class {n}" for n in range(40)], images=60)
    page = page_of(tmp_path)
    with_objects = sum(entry["objects"] > 0 for entry in content["per_class"])
    assert f"{with_objects - 8} more classes" in page.texts
    table = next(table for table in page.tables if table[0] == ["there", "shown", "times"])
    times = [int(row[2]) for row in table[1:]]
    assert 1 < len(times) <= 20 and times == sorted(times, reverse=True)


def test_an_evaluation_without_curves_and_a_detector_that_found_nothing_are_shown(tmp_path):
    content = write_evaluation(tmp_path / "old.json")
    for key in ("curves", "confusion", "best_f1", "file", "sha256"):
        del content[key]
    (tmp_path / "old.json").write_text(json.dumps(content))
    page = page_of(tmp_path)
    assert "fake" in page.table("model", "AR100")
    assert page.texts.count("cornernet evaluate model.onnx data/mine") == 2


def test_a_page_is_made_without_torch(tmp_path):
    write_run(tmp_path / "run")
    code = f"""
import sys
from pathlib import Path
from cornernet.benchmarks.report.report_inputs import read_inputs
from cornernet.benchmarks.report.report_page import render_report
render_report(read_inputs([Path({str(tmp_path)!r})]))
print([name for name in ("torch", "safetensors", "onnxruntime") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def test_the_command_writes_a_page_and_replaces_only_its_own(tmp_path):
    write_evaluation(tmp_path / "e.json")
    content = json.loads((tmp_path / "e.json").read_text())
    (tmp_path / "e.json").write_text(json.dumps({**content, "curves": []}))  # charts take their time
    output = tmp_path / "new" / "report.html"
    for title in ("Farm", "Zoo"):
        result = run("report", tmp_path / "e.json", "-o", output, "--title", title)
        assert result.exit_code == 0, result.output
        assert f"<h1>{title}</h1>" in output.read_text(encoding="utf-8")
    output.write_text("<html>mine</html>")
    result = run("report", tmp_path / "e.json", "-o", output)
    assert result.exit_code == 1 and "was not made by this command" in result.stderr
    result = run("report", tmp_path, "-o", tmp_path / "e.json")
    assert result.exit_code == 1 and "is an input" in result.stderr
    assert output.read_text() == "<html>mine</html>"


def test_what_could_not_be_used_is_said_on_the_page_and_on_the_terminal(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "broken.json").write_text('{"file": ')
    write_picture(tmp_path / "run" / "predictions.png", noise(20, 20))
    whole = (tmp_path / "run" / "predictions.png").read_bytes()
    (tmp_path / "run" / "predictions.png").write_bytes(whole[: len(whole) // 2])
    result = run("report", tmp_path, "-o", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("left out: ") == 2 and "broken.json" in (tmp_path / "r.html").read_text()
