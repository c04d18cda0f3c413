"""What a report takes from where, and what it says of files that it cannot use."""

import json
from pathlib import Path

import pytest
from reported_files import write_benchmark, write_evaluation, write_everything, write_run

from cornernet.benchmarks.latency.latency_report import Report as Latency
from cornernet.benchmarks.report.report_inputs import read_inputs, short_names
from cornernet.engine.errors import DatasetError, ModelError


def names(paths):
    return sorted(path.name for path in paths)


def test_a_folder_gives_what_lies_in_it_and_in_the_folders_in_it(tmp_path):
    write_everything(tmp_path)
    inputs = read_inputs([tmp_path])
    assert names(inputs.files()) == [
        "benchmark.json",
        "errors-examples.png",
        "errors.json",
        "metrics.jsonl",
        "model.onnx",
        "model.onnx.farm.val.json",
        "predictions.png",
    ]
    assert inputs.problems == []


def test_a_model_brings_the_evaluations_beside_it_and_a_file_named_twice_counts_once(tmp_path):
    write_everything(tmp_path)
    inputs = read_inputs([tmp_path / "model.onnx", tmp_path / "run" / "metrics.jsonl", tmp_path / "run"])
    assert names(inputs.evaluations) == ["model.onnx.farm.val.json"] and len(inputs.runs) == 1


def test_what_a_benchmark_wrote_is_read_again_as_it_was(tmp_path):
    written = write_benchmark(tmp_path / "b.json")
    assert Latency.read(tmp_path / "b.json") == written


@pytest.mark.parametrize(
    "content", ["", "{}", '{"images": []}', "[1]", "plain text", '{"model": "x"}', '{"machine": {}}']
)
def test_a_file_of_something_else_is_refused_by_name_and_passed_over_in_a_folder(tmp_path, content):
    write_run(tmp_path / "run")
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DatasetError, match=r"other\.json: nothing that a report shows"):
        read_inputs([tmp_path / "other.json"])
    assert read_inputs([tmp_path]).problems == []


def spoiled(path: Path, *keys, value) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("values",), [1]),
        (("values", "AP"), float("nan")),
        (("per_class", 0, "AP"), "high"),
        (("curves", 0, "F1"), [0.5]),
        (("curves", 1, "precision", 3), float("inf")),
        (("confusion", "counts"), [[1, 2], [3]]),
        (("best_f1", 0), {}),
        (("images",), -0.5),
        (("dataset",), None),
    ],
)
def test_a_spoiled_evaluation_is_one_sentence_and_loses_nothing_else_of_a_folder(tmp_path, keys, value):
    write_run(tmp_path / "run")
    file = tmp_path / "e.json"
    write_evaluation(file)
    spoiled(file, *keys, value=value)
    with pytest.raises(DatasetError, match=r"e\.json: not a result of `cornernet evaluate`"):
        read_inputs([file])
    inputs = read_inputs([tmp_path])
    assert len(inputs.problems) == 1 and len(inputs.runs) == 1 and not inputs.evaluations


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("rows",), []),
        (("rows", 0, "stages", "run"), {}),
        (("rows", 0, "end_to_end", "p50"), float("nan")),
        (("rows", 0, "images_per_s"), -1),
        (("models",), "none"),
        (("format",), "cornernet-benchmark/9"),
        (("machine",), 3),
    ],
)
def test_a_spoiled_benchmark_is_one_sentence(tmp_path, keys, value):
    file = tmp_path / "b.json"
    write_benchmark(file)
    spoiled(file, *keys, value=value)
    with pytest.raises(DatasetError, match="not a result of `cornernet benchmark`"):
        read_inputs([file])


def test_broken_json_and_a_damaged_model_are_named(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "half.json").write_text('{"file": "x", "values": {')
    (tmp_path / "bad.onnx").write_bytes(b"\x08\xff not a model")
    (tmp_path / "best.safetensors").write_bytes(b"\xff" * 40)
    assert len(read_inputs([tmp_path]).problems) == 3
    with pytest.raises(DatasetError, match="not valid JSON"):
        read_inputs([tmp_path / "half.json"])
    for name in ("bad.onnx", "best.safetensors"):
        with pytest.raises(ModelError):
            read_inputs([tmp_path / name])


def test_numbers_of_a_run_that_are_none_are_left_out(tmp_path):
    lines = ['{"step": 1, "loss": NaN, "focal": 1}', '{"step": 2, "loss": 1e400}', '{"step": 3, "loss": "x"}']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, f'{{"step": 4, "loss": 1{"0" * 400}}}', "{"]))
    (run,) = read_inputs([tmp_path]).runs.values()
    assert run.rows == [{"step": 1, "focal": 1}, {"step": 2}, {"step": 3}, {"step": 4}]


def test_nothing_at_all_names_the_commands(tmp_path):
    with pytest.raises(DatasetError, match="cornernet benchmark"):
        read_inputs([tmp_path])
    with pytest.raises(DatasetError, match="No such file"):
        read_inputs([tmp_path / "absent.json"])


def test_names_are_as_long_as_they_must_be():
    assert short_names([Path("a/x/m.onnx"), Path("b/x/n.onnx")]) == ["m.onnx", "n.onnx"]
    assert short_names([Path("a/x/m.onnx"), Path("b/x/m.onnx")]) == ["a/x/m.onnx", "b/x/m.onnx"]
    assert short_names([Path("m"), Path("m")]) == ["m", "m"]
    assert short_names([]) == []
