"""A Saccade measured look by look: the published way computes the same, every step makes the crops it was asked for."""

import json
from pathlib import Path

import numpy as np
import onnx
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
from cornernet.export import int8_export
from cornernet.export.parity import drawn_images
from cornernet.export.quantise import quantise, write_quantised
from cornernet.trainer.data.shapes import generate_shapes
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
    monkeypatch.setattr(saccade_looks, "prepare", lambda network, folder, *_: (folder / network, False))
    steps = ("as published", "OpenVINO")
    return saccade_looks.measure("saccade", crops=(0, 30), steps=steps, rounds=2, runs=1, say=lambda text: None)


def test_rows_hold_stages_and_the_ratio_without_reading(report):
    assert [(row["crops"], row["step"]) for row in report["rows"]] == [
        (0, "as published"), (0, "OpenVINO"), (30, "as published"), (30, "OpenVINO")
    ]  # fmt: skip
    assert [row["ratio"] for row in report["rows"]] == pytest.approx([1, 0.4, 1, 0.4])
    assert report["rows"][3]["ms"] == pytest.approx(np.median([4, 8]) * 34)
    assert json.loads(json.dumps(report)) == report


def accurate(report):
    row = {"step": "OpenVINO", "canvases": 7.5, "AP": 0.432, "AP50": 0.6, "APs": 0.1, "APm": 0.2, "APl": 0.3}
    rows = [row | {"crops": crops} for crops in (0, 30)]
    return report | {"accuracy": rows, "settings": report["settings"] | {"scored": 4, "calibrated": 9}}


def test_table_and_picture_come_from_the_report(report, tmp_path):
    scored = accurate(report)
    text = saccade_looks.render(scored)
    assert "| crops | step | read | first look | crops | second look | merge | ms | ratio |" in text
    assert "| 30 | OpenVINO | " in text
    assert "| OpenVINO | 30 | 7.5 | 0.432 | 0.600 | 0.100 | 0.200 | 0.300 | 204 |" in text
    assert "random weights" in text
    untimed = scored | {"rows": []}
    text = saccade_looks.render(untimed)
    assert text.startswith("What fewer crops cost: **saccade**") and "on the 9 pictures of its training alone" in text
    assert "| OpenVINO | 30 | 7.5 | 0.432 | 0.600 | 0.100 | 0.200 | 0.300 |" in text
    for name, content in (("plain", report), ("scored", scored), ("untimed", untimed)):
        draw_looks(content, tmp_path / f"{name}.png")
        assert is_marked(tmp_path / f"{name}.png")


def test_what_is_compared_are_steps_of_the_ladder():
    assert set(saccade_looks.COMPARED) <= set(STEPS) and saccade_looks.COMPARED[0] == "as published"
    assert set(saccade_looks.ACCURATE) <= set(saccade_looks.COMPARED)


@pytest.mark.slow
def test_ap_over_crops_is_measured_in_float32_and_in_int8_calibrated_on_pictures_of_training(
    network, tmp_path, monkeypatch
):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    card = card_of(network, class_names=("rectangle", "ellipse", "triangle"))
    save_checkpoint(tmp_path / "micro.safetensors", network, card)
    data = generate_shapes(tmp_path / "data", train=4, val=3, seed=1, size=(140, 180))
    calibrated = []

    def lenient(network, card, output, *, calibrate, dataset):
        """Random weights lose more than trained ones: all that the gate is given is looked at here."""
        calibrated.append(({file.read_bytes() for file in calibrate.iterdir()}, dataset.annotation_file))
        model = onnx.load(output.with_name("micro.onnx"))
        write_quantised(quantise(model, [drawn_images(0, 1, 127, 127)]), output)

    monkeypatch.setattr(int8_export, "export_int8", lenient)
    words = ["-o", tmp_path / "out", "--network", tmp_path / "micro.safetensors", "--data", data, "--split", "val"]
    assert saccade_looks.main([str(word) for word in [*words, "--crops", "0,2", "--rounds", "0"]]) == 0
    ((pictures, annotations),) = calibrated
    assert pictures == {file.read_bytes() for file in (data / "images").glob("train_*")}
    assert Path(annotations).name == "instances_train.json"
    report = json.loads((tmp_path / "out" / "saccade.json").read_text())
    assert report["rows"] == [] and report["settings"]["network"] == "saccade-tiny"
    assert (report["settings"]["scored"], report["settings"]["calibrated"]) == (3, 4)
    rows = [(row["step"], row["crops"]) for row in report["accuracy"]]
    assert rows == [("OpenVINO", 0), ("OpenVINO", 2), ("OpenVINO, int8", 0), ("OpenVINO, int8", 2)]
    assert [row["canvases"] for row in report["accuracy"] if row["crops"] == 0] == [2, 2]
    assert all(2 <= row["canvases"] <= 4 and 0 <= row["AP"] <= 1 for row in report["accuracy"])
    assert is_marked(tmp_path / "out" / "saccade.png")
