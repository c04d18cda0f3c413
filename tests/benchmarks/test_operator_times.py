"""The profile by operator: shares of one, of the file that is given, and a sentence where there is none."""

import json

import pytest

from cornernet.benchmarks.operator_times import main, measure, render


def test_shares_add_up_and_every_operator_of_the_decoder_is_among_them(micro_model):
    (found,) = measure([str(micro_model)], runs=2, side=64)["models"]
    assert found["name"] == "micro"
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert {"Conv", "MaxPool", "TopK"} <= set(found["shares"])
    assert list(found["shares"].values()) == sorted(found["shares"].values(), reverse=True)


def test_the_table_groups_what_is_no_convolution():
    shares = {"Conv": 0.5, "Add": 0.2, "ReorderInput": 0.125, "Transpose": 0.125, "MaxPool": 0.05}
    report = {"settings": {"side": 64}, "machine": {"cpu": {"model": "A"}}, "models": [{"name": "m", "shares": shares}]}
    assert "| m | 50.0% | 25.0% | 5.0% | Add 20.0% |" in render(report)


def test_the_command_writes_what_it_prints_and_says_what_is_no_model(micro_model, tmp_path, capsys):
    assert main([str(micro_model), "--side", "64", "--runs", "1", "--json", str(tmp_path / "times.json")]) == 0
    assert render(json.loads((tmp_path / "times.json").read_text())) in capsys.readouterr().out
    (tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx: cannot be profiled" in capsys.readouterr().err
