"""A Saccade measured look by look: the published way computes the same, every step makes the crops it was asked for."""

import json

import numpy as np
import pytest
import torch
from lively_network import card_of, lively_network

from cornernet.benchmarks.latency import saccade_looks
from cornernet.benchmarks.latency.as_published import AsPublished
from cornernet.benchmarks.latency.ladder_steps import STEPS
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.latency.saccade_chart import draw_looks
from cornernet.benchmarks.latency.saccade_steps import STAGES, measure_looks
from cornernet.engine.results.picture_file import is_marked
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.network.checkpoint import save_checkpoint
from cornernet.trainer.network.presets import preset


@pytest.fixture(scope="module")
def network():
    return lively_network(preset("saccade-tiny", 3))


def test_the_published_way_finds_the_boxes_and_the_attention_of_the_deployed_network(network):
    images = torch.from_numpy(drawn_images(3, 2, 127, 127))
    published = AsPublished(network, card_of(network))
    with torch.inference_mode():
        got, expected = published(images), DeployedNetwork(network, card_of(network))(images)
        crops = published(images, attention=False)
    assert expected.counts.sum() > 0
    assert torch.equal(got.counts, expected.counts) and torch.equal(got.labels, expected.labels)
    for place in (0, 1, 2, 5):
        torch.testing.assert_close(got[place], expected[place], atol=1e-4, rtol=0)
    strong = expected.attention_scores > 0.05
    assert strong.any() and torch.equal(got.attention_cells[strong], expected.attention_cells[strong])
    assert len(crops) == 5 and torch.equal(crops.boxes, got.boxes)


@pytest.mark.parametrize("step", ["as published", "heads at selected cells"])
def test_every_step_makes_the_crops_it_is_asked_for(network, tmp_path, step):
    save_checkpoint(tmp_path / "micro.safetensors", network, card_of(network))
    files = write_pictures(tmp_path / "pictures", count=2)
    for crops in (0, 7):
        found = measure_looks(step, tmp_path / "micro", crops, 2, files)
        assert found["made"] == [crops, crops]
        assert list(found["stages_ms"]) == list(STAGES)
        assert all(len(times) == 2 and min(times) >= 0 for times in found["stages_ms"].values())


@pytest.fixture
def report(monkeypatch):
    """A whole report; the processes answer at once, twice as slow in every second round."""
    asked = []

    def answer(step, stem, crops, runs, files):
        asked.append(step)
        slow = (2 if (len(asked) - 1) // 2 % 2 else 1) * (10 if step == "as published" else 4)
        times = {stage: [slow] for stage in STAGES} | {"read": [1000.0], "second look": [slow * (1 + crops)]}
        return {"stages_ms": times, "made": [crops] * runs}

    monkeypatch.setattr(saccade_looks, "time_looks", answer)
    monkeypatch.setattr(saccade_looks, "prepare", lambda network, folder, dataset: (folder / network, False))
    steps = ("as published", "OpenVINO")
    return saccade_looks.measure("saccade", crops=(0, 30), steps=steps, rounds=2, runs=1, say=lambda text: None)


def test_rows_hold_stages_and_the_ratio_without_reading(report):
    assert [(row["crops"], row["step"]) for row in report["rows"]] == [
        (0, "as published"), (0, "OpenVINO"), (30, "as published"), (30, "OpenVINO")
    ]  # fmt: skip
    assert [row["ratio"] for row in report["rows"]] == pytest.approx([1, 0.4, 1, 0.4])
    assert report["rows"][3]["ms"] == pytest.approx(np.median([4, 8]) * 34)
    assert json.loads(json.dumps(report)) == report


def test_table_and_picture_come_from_the_report(report, tmp_path):
    scored = report | {"accuracy": [{"crops": 30, "AP": 0.432, "AP50": 0.6}]}
    text = saccade_looks.render(scored)
    assert "| crops | step | read | first look | crops | second look | merge | ms | ratio |" in text
    assert "| 30 | OpenVINO | " in text and "| 30 | 0.432 | 0.600 | 204 |" in text
    assert "random weights" in text
    for name, content in (("plain", report), ("scored", scored)):
        draw_looks(content, tmp_path / f"{name}.png")
        assert is_marked(tmp_path / f"{name}.png")


def test_what_is_compared_are_steps_of_the_ladder():
    assert set(saccade_looks.COMPARED) <= set(STEPS) and saccade_looks.COMPARED[0] == "as published"
    assert saccade_looks.ACCURATE in saccade_looks.COMPARED
