"""The ladder: its first step computes what the network computes, its rows and pictures say what was measured."""

import json

import pytest
import torch
from lively_network import card_of, lively_network
from torch import nn

from cornernet.benchmarks.latency import ladder
from cornernet.benchmarks.latency.as_published import AsPublished, cumulative_maximum
from cornernet.benchmarks.latency.ladder_report import draw_ladder, render
from cornernet.benchmarks.latency.ladder_steps import STEPS, measure_step, time_step
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.engine.errors import BackendError
from cornernet.engine.results.picture_file import is_marked
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.network.checkpoint import save_checkpoint
from cornernet.trainer.network.corner_pool import left_pool, right_pool

TIMES = {"as published": 100.0, "ONNX Runtime": 50.0, "OpenVINO, int8 and bf16": 20.0}


@pytest.mark.parametrize("folded", [False, True])
def test_the_published_way_finds_the_boxes_of_the_deployed_network(folded):
    network = lively_network()
    images = torch.from_numpy(drawn_images(3, 2, 64, 93))
    published = AsPublished(network, card_of(network), folded=folded)
    assert any(isinstance(part, nn.BatchNorm2d) for part in published.modules()) is not folded
    with torch.inference_mode():
        got, expected = published(images), DeployedNetwork(network, card_of(network))(images)
    assert torch.equal(got.counts, expected.counts) and torch.equal(got.labels, expected.labels)
    for one, other in zip(got[:3], expected[:3]):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_its_cumulative_maximum_is_corner_pooling_along_an_axis():
    x = torch.randn(1, 2, 5, 7)
    assert torch.equal(cumulative_maximum(x, 3, from_end=True), left_pool(x))
    assert torch.equal(cumulative_maximum(x, 3, from_end=False), right_pool(x))


def test_a_step_is_measured_from_canvas_and_from_file(tmp_path):
    network = lively_network()
    save_checkpoint(tmp_path / "micro.safetensors", network, card_of(network))
    files = write_pictures(tmp_path / "pictures", count=2, height=48, width=64)
    found = measure_step("as published", tmp_path / "micro", (64, 64), 2, 3, files)
    assert [len(found[name]) for name in ("canvas_ms", "jpeg_ms")] == [3, 3]
    assert min(found["canvas_ms"]) > 0 and found["open_s"] > 0


def test_a_step_that_cannot_be_run_says_which_and_why(tmp_path):
    with pytest.raises(BackendError, match=r"ONNX Runtime, gone: .*no such file"):
        time_step("ONNX Runtime", tmp_path / "gone", (64, 64), 1, 1, [tmp_path / "gone.jpg"])


@pytest.fixture
def report(monkeypatch, tmp_path):
    """A whole report; the processes answer at once, twice as slow in every second round."""
    rounds = []

    def answer(step, stem, size, batch, runs, files):
        rounds.append(step)
        slow = 2 if (len(rounds) - 1) // len(TIMES) % 2 else 1
        return {"canvas_ms": [batch * slow * TIMES[step]], "jpeg_ms": [batch * (TIMES[step] + 1)]}

    monkeypatch.setattr(ladder, "time_step", answer)
    monkeypatch.setattr(ladder, "prepare", lambda network, folder, *_: (folder / network, False))
    quiet = {"say": lambda text: None, "steps": tuple(TIMES)}
    return ladder.climb(["tiny"], rounds=4, runs=1, growth=("tiny",), price_per_hour=3.6, **quiet)


def test_rows_hold_the_ratio_to_the_published_way_and_the_cost_at_the_measured_throughput(report):
    rows = report["networks"][0]["rows"]
    assert [row["step"] for row in rows] == list(TIMES)
    assert [row["ratio"] for row in rows] == pytest.approx([1, 0.5, 0.2])
    assert rows[1]["images_per_s"] == pytest.approx(1000 / 51)
    assert rows[1]["cost_per_million"] == pytest.approx(1e6 * 3.6 / 3600 * 51 / 1000)
    assert [growth["step"] for growth in report["networks"][0]["growth"]] == list(ladder.GROWTH)
    assert json.loads(json.dumps(report)) == report


def test_tables_and_picture_come_from_the_report(report, tmp_path):
    text = render(report)
    assert "| ONNX Runtime | " in text and "| 0.50 | " in text and "cost of a million at 3.6 an hour" in text
    assert "random weights" in text and "Growth of tiny" in text
    draw_ladder(report, tmp_path / "ladder.png")
    assert is_marked(tmp_path / "ladder.png")


def test_every_step_names_its_runtime():
    assert next(iter(STEPS)) == "as published" and set(ladder.GROWTH) <= set(STEPS)
