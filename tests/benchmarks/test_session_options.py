"""ONNX Runtime's options one at a time: every change runs, finds the same boxes, and is in the table."""

import json

import numpy as np
import pytest

from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.session_options import CHANGES, main, measure_change, render


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_opens_the_file_and_runs_it(change, bright_model, tmp_path):
    write_pictures(tmp_path, count=2, height=48, width=64)
    row = measure_change(change, bright_model, tmp_path, 128, 1)
    assert all(np.isfinite(number) and number > 0 for number in row.values()), row


def test_the_command_writes_what_it_prints(bright_model, tmp_path, capsys):
    given = [str(bright_model), "--side", "128", "--rounds", "1", "--runs", "1", "--json", str(tmp_path / "out.json")]
    assert main(given) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["change"] for row in report["models"][0]["rows"]] == list(CHANGES)
    assert render(report) in capsys.readouterr().out


def test_what_is_no_model_is_named(tmp_path, capsys):
    (tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "none.onnx"), "--rounds", "1", "--runs", "1"]) == 1
    assert "none.onnx" in capsys.readouterr().err
