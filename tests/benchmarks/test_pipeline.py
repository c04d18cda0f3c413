"""The benchmark of the pipeline counts what it says."""

import json

import numpy as np
from fake_backends import make_card, write_onnx

from cornernet.benchmarks import pipeline
from cornernet.benchmarks.latency import benchmark
from cornernet.benchmarks.latency.pictures import write_pictures


def test_busy_is_the_share_of_the_time_in_which_the_model_ran(tmp_path):
    files = write_pictures(tmp_path, count=2)
    row = pipeline.measure(files, "files", 20.0, 0.3, 64)
    assert row.images == 64
    # Whoever waits, waits for at least what was asked: so these hold on the busiest machine.
    assert row.images_per_s * 0.020 * 0.999 <= row.busy <= 1
    assert row.limit <= 50
    assert row.in_turn <= 50


def test_the_simulated_model_gives_a_thousand_candidates_an_image():
    backend = pipeline.SimulatedAccelerator(0.01)
    raw = backend.run(np.zeros((3, 512, 512, 3), np.uint8))
    assert raw.counts.tolist() == [1000] * 3 and raw.boxes.shape == (3, 1000, 4)
    assert backend.busy_s > 0


def test_table_and_json_hold_the_same_points(tmp_path, capsys):
    file = tmp_path / "pipeline.json"
    pipeline.main(["--costs", "0.5", "--seconds", "0.02", "--growth", "16,32", "--json", str(file)])
    report = json.loads(file.read_text())
    assert [(row["source"], row["threshold"]) for row in report["rows"]] == [
        ("arrays", 0.0), ("arrays", 0.3), ("files", 0.0), ("files", 0.3)
    ]  # fmt: skip
    assert [row["images"] for row in report["growth"]] == [16, 32]
    printed = capsys.readouterr().out
    assert all(f"{row['images_per_s']:.0f}" in printed for row in report["rows"])


def test_the_benchmark_of_models_can_measure_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "sweep", lambda folder: pipeline.sweep(folder, costs_ms=(1.0,), seconds=0.02))
    model = write_onnx(tmp_path / "model.onnx", make_card())
    report = benchmark.run_benchmark([model], batches=(1,), size=(128, 128), repeats=1, cold_start=False, pipeline=True)
    assert [row["cost_ms"] for row in report.pipeline] == [1.0] * 4
