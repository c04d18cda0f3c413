"""The peak of a fresh process: above what imports take, and a sentence where there is no model."""

import json
import sys

import pytest

from cornernet.benchmarks import opening_memory
from cornernet.benchmarks.opening_memory import main, render


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read as Linux gives it")
def test_the_peak_holds_what_is_imported_and_the_model(bright_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(opening_memory, "RUNTIMES", {"ONNX Runtime": ("onnxruntime", "fp32")})
    assert main([str(bright_model), "--json", str(tmp_path / "memory.json")]) == 0
    report = json.loads((tmp_path / "memory.json").read_text())
    assert render(report) in capsys.readouterr().out
    (row,) = report["openings"]
    assert row["file"] == bright_model.stat().st_size
    assert 10e6 < row["imports"] < row["peak"] < 1e9 and row["imports"] < row["kept"] <= row["peak"] * 1.01
    (tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
