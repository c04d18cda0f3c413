"""Table 4: three files that differ in what the table compares; runs are made once, measured, and tabled."""

import pytest
from typer.testing import CliRunner

from cornernet.benchmarks.analyses.compared_backbones import (
    COLUMNS,
    ROWS,
    BackboneRun,
    backbone_config,
    backbone_table,
    run_rows,
)
from cornernet.cli import app
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes

SMALL = {"size": (64, 64), "epochs": 1, "batch_size": 4, "workers": 0, "log_every": 1}
DEFAULT = {"hourglass": None, "pyramid": None}


def run(row: str, seed: int, ap: float) -> BackboneRun:
    return BackboneRun(row, seed, 10, 1_200_000, 0.25, dict.fromkeys(COLUMNS, ap))


def test_the_rows_share_schedule_and_views_and_differ_in_the_backbone():
    configs = [backbone_config(row).model_dump() for row in ROWS]
    different = {key for key in configs[0] if len({repr(config[key]) for config in configs}) > 1}
    assert different == {"preset"}
    assert [config["preset"] for config in configs] == ["fpn-tiny", "tiny", "tiny"]


def test_the_table_has_the_papers_rows_the_mean_over_seeds_and_the_cost():
    table = backbone_table(
        [run("hourglass_corners", 1, 0.5), run("hourglass_corners", 2, 0.3), run("pyramid_corners", 1, 0.2)]
    )
    assert table.columns[-3:] == ("M parameters", "GMAC", "AP by seed")
    assert table.rows[0][:2] == ("FPN + Corners", pytest.approx(0.2))
    assert table.rows[1][:2] == ("Hourglass + Corners", pytest.approx(0.4))
    assert table.rows[1][-3:] == ("1.20", "0.25", "50.0 / 30.0")


def test_rows_are_trained_once_on_the_same_loop_and_measured(tmp_path):
    folder = generate_shapes(tmp_path / "shapes", train=8, val=4, seed=0, size=(64, 64))
    data = load_coco(folder, "train"), load_coco(folder, "val")
    runs = run_rows(ROWS, [1], *data, tmp_path / "out", presets=DEFAULT, device="cpu", **SMALL)
    assert [(each.row, each.steps) for each in runs] == [(row, 2) for row in ROWS]
    assert all(-1 <= each.stats["AP"] <= 1 and each.parameters > 500_000 for each in runs)
    assert runs[1].gmacs != runs[2].gmacs  # its own cost, not that of corners
    weights = tmp_path / "out" / "hourglass_anchors" / "seed-1" / "last.safetensors"
    written = weights.stat().st_mtime_ns
    again = run_rows(ROWS, [1], *data, tmp_path / "out", presets=DEFAULT, device="cpu", **SMALL)
    assert [each.stats for each in again] == [each.stats for each in runs]
    assert weights.stat().st_mtime_ns == written


def test_the_command_refuses_a_row_that_does_not_exist(tmp_path):
    asked = ["analyse", "backbones", str(tmp_path), "-o", str(tmp_path), "--only", "nothing"]
    refused = CliRunner().invoke(app, asked)
    assert refused.exit_code == 2 and "no row 'nothing'" in " ".join(refused.output.split())
