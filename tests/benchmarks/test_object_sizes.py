"""Two looks against one: equal costs, every canvas counted, the tables."""

import json

import pytest

from cornernet.benchmarks import object_sizes
from cornernet.trainer.network.cost import count_macs
from cornernet.trainer.network.presets import preset


@pytest.mark.parametrize(("gmacs", "side"), [(0.104, 96), (1.0, 320), (1e-9, 32), (1e9, 512)])
def test_the_canvas_is_the_legal_one_of_the_nearest_cost(gmacs, side):
    assert object_sizes.side_of_cost(preset("tiny", 3), gmacs) == side


def test_costs_grow_with_the_area():
    network = preset("tiny", 3)
    assert count_macs(network, 96, 96) == 9 * count_macs(network, 32, 32)


def test_the_tables_have_a_row_for_each_network_and_each_number_of_crops():
    accuracy = dict.fromkeys(object_sizes.COLUMNS, 0.25)
    row = {"network": "tiny", "canvas": [96, 96], "canvases": 1.0, "gmacs": 0.1, "pictures_seen": 40, **accuracy}
    row["trained_gmacs"] = 5.0
    settings = {
        "side": 512,
        "objects": [8, 300],
        "pictures": 40,
        "epochs": 3,
        "crops": 8,
        "val": 4,
        "seed": 0,
        "as_many": True,
    }
    curve = [{"max_crops": 8, "canvases": 7.5, "gmacs": 0.7, **accuracy}]
    text = object_sizes.render({"settings": settings, "rows": [row], "curve": curve})
    assert "| tiny | 96x96 | 1.0 | 0.10 | 40 | 1.0 | 0.250 |" in text and "| 8 | 7.5 | 0.70 | 0.250 |" in text
    assert "object_sizes runs/sizes --pictures 40 --epochs 3 --crops 8 --val 4 --seed 0 --as-many`" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 6 and len({line.count("|") for line in lines[:3]}) == 1


@pytest.mark.slow
def test_a_run_of_one_pass_is_scored_and_goes_on_where_it_is_complete(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(object_sizes, "CROPS", (0, 2))
    words = [str(tmp_path / "run"), "--pictures", "8", "--epochs", "1", "--crops", "2", "--val", "2", "--as-many"]
    assert object_sizes.main([*words, "--json", str(tmp_path / "first.json")]) == 0
    assert object_sizes.main([*words, "--json", str(tmp_path / "second.json")]) == 0
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("first", "second"))
    names = [row["network"].partition(",")[0] for row in first["rows"]]
    assert names == ["saccade-tiny", "saccade-tiny", "tiny", "tiny", "tiny"]
    assert first["curve"] == second["curve"] and first["curve"][0]["canvases"] == 2  # the views alone
    assert first["rows"][2]["canvas"] == [96, 96]
    assert capsys.readouterr().out.count("| saccade-tiny | 127x127 |") == 2
