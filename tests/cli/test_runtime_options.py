"""--runtime and --precision arrive at the backend, and what ran is said."""

import json
import typing

import pytest
from typer.testing import CliRunner

from cornernet import options
from cornernet.cli import app
from cornernet.engine.backends import open as opening


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


def test_the_words_of_the_options_are_those_of_the_engine():
    assert typing.get_args(opening.Runtime) == options.RUNTIMES
    assert typing.get_args(opening.Precision) == options.PRECISIONS


def test_evaluate_writes_what_ran(model, data, tmp_path, openvino):
    for words, runtime in (((), "ONNX Runtime CPU"), (("--runtime", "openvino"), "OpenVINO")):
        result = run("evaluate", model, data, "--json", tmp_path / "stats.json", *words)
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / "stats.json").read_text())
        assert (content["runtime"], content["precision"]) == (runtime, "fp32")
        assert content["values"]["AP50"] == pytest.approx(1)


def test_predict_finds_the_same_in_either_runtime_and_auto_says_what_it_chose(model, data, tmp_path, openvino):
    found = {}
    for runtime in options.RUNTIMES:
        lines = tmp_path / f"{runtime}.jsonl"
        result = run("predict", model, data / "images", "--json", lines, "--runtime", runtime)
        assert result.exit_code == 0, result.output
        assert ("fastest of those measured: " in result.stderr) is (runtime == "auto")
        found[runtime] = [[one["box"] for one in json.loads(line)["detections"]] for line in lines.open()]
    assert found["auto"] == found["onnxruntime"] == found["openvino"]


def test_doctor_measures_a_file_and_auto_then_knows(model, data, tmp_path, openvino):
    result = run("doctor", model, "--json")
    assert result.exit_code == 0, result.output
    found = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert found["OpenVINO"]["state"] == "works" and "FP32" in found["OpenVINO"]["detail"]
    assert "onnxruntime fp32 " in found["fastest runtime"]["detail"]
    assert "openvino fp32 " in found["fastest runtime"]["detail"]
    result = run("predict", model, data / "images", "--json", tmp_path / "p.jsonl", "--runtime", "auto")
    assert "fastest when last measured: " in result.stderr


def test_benchmark_has_a_row_for_each_runtime(model, tmp_path, openvino):
    words = ("--batch", 1, "--repeats", 1, "--runtime", "onnxruntime,openvino", "--precision", "fp32", "-o", tmp_path)
    result = run("benchmark", model, *words)
    assert result.exit_code == 0, result.output
    entries = json.loads((tmp_path / "benchmark.json").read_text())["models"]
    assert [entry["name"] for entry in entries] == ["model.onnx, onnxruntime fp32", "model.onnx, openvino fp32"]
    assert [entry["runtime"] for entry in entries] == ["ONNX Runtime CPU", "OpenVINO"]
    assert all(entry["cold_start_s"]["first"] > 0 for entry in entries)


@pytest.mark.parametrize("words", [("--runtime", "tensorflow"), ("--runtime", "onnxruntime", "--precision", "bf16")])
def test_benchmark_refuses_what_cannot_run(model, words):
    result = run("benchmark", model, *words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_checkpoint_is_no_file_for_another_runtime(tmp_path, data):
    (tmp_path / "best.safetensors").write_bytes(b"")
    result = run("evaluate", tmp_path / "best.safetensors", data, "--runtime", "openvino")
    assert result.exit_code == 1
    assert "a checkpoint runs in PyTorch" in result.stderr
