"""Tables 1 and 2: the files differ in what they ablate and in nothing else; runs are made once and measured."""

import json

import pytest

from cornernet.benchmarks.analyses import ablations
from cornernet.benchmarks.analyses.ablations import (
    ABLATIONS,
    Run,
    ablation_config,
    ablation_file,
    ablation_tables,
    run_ablations,
)
from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.network.checkpoint import load_checkpoint

SMALL = {"size": (64, 64), "epochs": 1, "batch_size": 4, "workers": 0, "log_every": 1}


def test_every_file_ablates_one_thing_of_the_full_method():
    assert sorted(file.stem for file in ablation_file("full").parent.glob("*.toml")) == sorted(ABLATIONS)
    full = ablation_config("full").model_dump()
    assert (full["corner_pooling"], full["radius"]) == (True, "object")
    changes = {}
    for name in ABLATIONS[1:]:
        own = ablation_config(name).model_dump()
        changes[name] = {key: own[key] for key in full if own[key] != full[key]}
    assert changes == {
        "no_corner_pooling": {"corner_pooling": False},
        "radius_none": {"radius": "none"},
        "radius_fixed": {"radius": "fixed"},
    }


def test_a_budget_lies_on_top_but_may_not_undo_an_ablation():
    assert ablation_config("radius_none", epochs=3, preset=None).epochs == 3
    with pytest.raises(TrainingError, match="radius is what the ablations vary"):
        ablation_config("radius_none", radius="object")


def test_runs_are_trained_once_and_measured_with_their_last_weights(tmp_path):
    folder = generate_shapes(tmp_path / "shapes", train=8, val=4, seed=0, size=(64, 64))
    data = load_coco(folder, "train"), load_coco(folder, "val")
    names, seeds = ("full", "no_corner_pooling"), (1,)
    runs = run_ablations(names, seeds, *data, tmp_path / "out", device="cpu", **SMALL)
    assert [(run.ablation, run.seed, run.steps) for run in runs] == [(name, 1, 2) for name in names]
    plain, pooled = (load_checkpoint(runs[number].checkpoint)[0] for number in (1, 0))
    assert not plain.config.corner_pooling and pooled.config.corner_pooling
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (plain, pooled)]
    assert sizes[0] == sizes[1]  # the paper: "the same number of parameters"
    written = [run.checkpoint.stat().st_mtime_ns for run in runs]
    again = run_ablations(names, seeds, *data, tmp_path / "out", device="cpu", **SMALL)
    assert [run.stats for run in again] == [run.stats for run in runs]
    log = tmp_path / "out" / "full" / "seed-1" / "metrics.jsonl"
    assert max(json.loads(line)["step"] for line in log.read_text().splitlines()) == 2
    assert [run.checkpoint.stat().st_mtime_ns for run in again] == written


def test_seed_by_seed_so_that_an_early_stop_leaves_whole_comparisons(tmp_path, monkeypatch):
    def run_one(name, *data, seed, **options):
        return Run(name, seed, tmp_path, 0, {})

    monkeypatch.setattr(ablations, "run_ablation", run_one)
    finished = []
    runs = run_ablations(("full", "radius_none"), (1, 2), None, None, tmp_path, finished=finished.append)
    expected = [("full", 1), ("radius_none", 1), ("full", 2), ("radius_none", 2)]
    assert [(run.ablation, run.seed) for run in runs] == expected and finished == runs


def test_tables_average_over_seeds_and_show_each(tmp_path):
    def run(name, seed, ap, large=-1.0):
        return Run(
            name, seed, tmp_path, 1, {"AP": ap, **dict.fromkeys(("AP50", "AP75", "APs", "APm"), ap), "APl": large}
        )

    one = ablation_tables([run("full", 1, 0.4), run("radius_none", 1, 0.3)])
    assert [table.title for table in one] == ["Corner pooling (Table 1)", "Penalty reduction (Table 2)"]
    assert one[1].rows == (
        ("w/o reducing penalty", *(0.3,) * 5, -1.0),
        ("object-dependent radius", *(0.4,) * 5, -1.0),
    )
    several = ablation_tables([run("full", 1, 0.4, 0.2), run("full", 2, 0.5)])
    assert several[0].rows[0] == ("w/ corner pooling", *(pytest.approx(0.45),) * 5, 0.2, "40.0 / 50.0")
