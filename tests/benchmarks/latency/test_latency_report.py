"""Machine facts, the table and the picture of a benchmark."""

import io
import json
import subprocess

import cv2
import pytest
from rich.console import Console

from cornernet.benchmarks.latency.latency_chart import draw_chart, latency_figure
from cornernet.benchmarks.latency.latency_report import Report, Row, meaning
from cornernet.benchmarks.latency.stage_times import STAGES
from cornernet.engine import machine


def numbers(value):
    return {"p50": value, "p90": value * 1.2, "p99": value * 1.5, "mean": value, "max": value * 2}


@pytest.fixture
def report():
    rows = [
        Row(
            model=model,
            batch=batch,
            samples=20,
            stages=dict(zip(STAGES, map(numbers, (2.0, 0.4, run / batch**0.3, 0.5)))),
            end_to_end=numbers(3.1 + run / batch**0.3),
            images_per_s=1000 / (3.1 + run),
            speed=speed,
            first_batch_ms=99,
        )
        for batch in (1, 8)
        for model, run, speed in (("best.safetensors", 90.0, 1.0), ("model.onnx", 45.0, 1.98), ("half.onnx", 60.0, 1.5))
    ]
    names = dict.fromkeys(row.model for row in rows)
    cold = {"import": 1.0, "open": 0.5, "first": 0.2, "process": 2.0}
    models = [
        {"name": name, "runtime": "ONNX Runtime CPU", "precision": "fp32", "bytes": 4_100_000, "cold_start_s": cold}
        | {"accuracy": None if name == "half.onnx" else {"AP": 0.789, "AP50": 0.95}}
        for name in names
    ]
    return Report(
        machine=machine.machine_facts(),
        settings={"canvas": [511, 511], "repeats": 20, "meaning": meaning(20)},
        models=models,
        rows=rows,
        postprocessing={"candidates": 2000, "budget_ms": 2.0, "classes": {"80": {"p50": 1.5, "p90": 2, "p99": 2.5}}},
    )


def test_the_table_has_a_row_per_model_and_batch_with_stages_percentiles_and_ap(report):
    console = Console(width=80, file=io.StringIO())
    report.print(console)
    text = console.file.getvalue()
    for words in ("read", "place", "run", "post", "p50", "p90", "p99", "images/s", "AP50", "511x511"):
        assert words in text
    stages, total = [line.split() for line in text.splitlines() if line.split()[:2] == ["model.onnx", "1"]]
    assert stages == ["model.onnx", "1", "2.00", "0.40", "45.0", "0.50"]
    assert total == ["model.onnx", "1", "48.1", "57.7", "72.2", "20.8", "1.98x", "0.789", "0.950"]
    assert "within the budget of 2 ms" in text
    assert "time of a batch / its images" in text


def test_a_post_processing_over_its_budget_is_said_aloud(report):
    report.postprocessing["classes"]["80"]["p50"] = 2.01
    console = Console(width=160, file=io.StringIO())
    report.print(console)
    assert "OVER the budget" in console.file.getvalue()


def test_how_busy_a_simulated_accelerator_was_is_a_table_where_it_was_measured(report):
    row = {"source": "files", "cost_ms": 0.5, "threshold": 0.3, "images_per_s": 812.4, "busy": 0.41, "limit": 1163.0}
    report.pipeline.append({**row, "in_turn": 305.0})
    console = Console(width=160, file=io.StringIO())
    report.print(console)
    (line,) = [line.split() for line in console.file.getvalue().splitlines() if line.split()[:1] == ["files"]]
    assert line == ["files", "0.5", "0.3", "812", "41%", "1163", "305"]


def test_a_report_without_accuracy_has_no_empty_columns(report):
    for model in report.models:
        model["accuracy"] = None
    console = Console(width=160, file=io.StringIO())
    report.print(console)
    assert "AP50" not in console.file.getvalue()


def test_the_json_holds_everything(report, tmp_path):
    report.write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["format"] == "cornernet-benchmark/1"
    assert len(content["rows"]) == 6
    assert content["rows"][1]["stages"]["run"]["p99"] == pytest.approx(67.5)
    assert {"date", "os", "python", "cpu", "gpus", "packages"} <= set(content["machine"])


def test_the_chart_shows_every_stage_in_its_colour(report, tmp_path):
    draw_chart(report, tmp_path / "chart.png")
    pixels = cv2.imread(str(tmp_path / "chart.png"))
    assert pixels.shape[1] > 1000
    for blue, green, red in ((198, 156, 122), (95, 122, 224)):  # read, run
        close = abs(pixels.astype(int) - (blue, green, red)).max(axis=2) < 6
        assert close.sum() > 1000


def test_a_percentile_beyond_the_edge_is_a_number_and_no_longer_axis(report):
    usual = latency_figure(report).axes[0]
    report.rows[1].end_to_end["p99"] = 25_000.0
    far = latency_figure(report).axes[0]
    assert far.get_xlim() == usual.get_xlim()
    assert "(p99 beyond the edge: 2.5e+04 ms)" in far.texts[1].get_text()
    assert "beyond" not in usual.texts[1].get_text()


def test_machine_facts_are_json_and_know_this_python():
    facts = json.loads(json.dumps(machine.machine_facts()))
    assert facts["packages"]["numpy"]
    assert facts["cpu"]["usable_cores"] >= 1
    assert machine.summary(facts)


def test_gpus_are_read_from_the_drivers_tool(monkeypatch):
    line = "NVIDIA H200, 570.1, 143771 MiB, 700.00 W, 1980 MHz, 9.0\n"
    answer = subprocess.CompletedProcess([], 0, stdout=line)
    monkeypatch.setattr(machine.subprocess, "run", lambda *arguments, **options: answer)
    facts = machine.machine_facts()
    assert facts["gpus"][0]["name"] == "NVIDIA H200"
    assert "NVIDIA H200 (driver 570.1)" in machine.summary(facts)


def test_a_machine_without_the_drivers_tool_has_no_gpus(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(machine.subprocess, "run", missing)
    assert machine.machine_facts()["gpus"] == []
