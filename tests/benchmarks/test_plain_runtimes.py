"""Our backends beside the plain runtimes: both run the same file, and the table says by how much ours is slower."""

import json

import pytest

from cornernet.benchmarks import plain_runtimes
from cornernet.benchmarks.plain_runtimes import RUNTIMES, main, measure, render, time_run


@pytest.mark.parametrize("way", ["plain", "ours"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_both_ways_run_the_file(runtime, way, bright_model):
    if runtime != "ONNX Runtime":
        pytest.importorskip("openvino")
    assert time_run(runtime, bright_model, way, 128, 1) > 0


def test_the_ratio_is_that_of_one_round_and_the_command_writes_what_it_prints(
    bright_model, monkeypatch, tmp_path, capsys
):
    answers = iter([1, 2, 100, 100, 3, 6] * len(RUNTIMES))  # plain and ours take turns: ours is first in even rounds

    def answer(module, runtime, file, words, *, limit_s):
        return {"ms": float(next(answers))}

    monkeypatch.setattr(plain_runtimes, "in_process", answer)
    given = [str(bright_model), "--rounds", "3", "--runs", "1", "--json", str(tmp_path / "out.json")]
    assert main(given) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["ratio"] for row in report["models"][0]["rows"]] == [0.5] * len(RUNTIMES)
    assert render(report) in capsys.readouterr().out


def test_what_is_no_model_is_named(tmp_path, capsys):
    (tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "none.onnx"), "--rounds", "1", "--runs", "1"]) == 1
    assert "none.onnx" in capsys.readouterr().err
    assert measure([], rounds=1)["models"] == []
