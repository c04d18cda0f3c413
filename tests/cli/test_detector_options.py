"""The options that predict and evaluate share arrive at the detector."""

import json

import pytest
from typer.testing import CliRunner

from cornernet.cli import app


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


@pytest.fixture
def settings_of(monkeypatch):
    """Runs a verb and gives the settings with which it opened the detector."""
    from cornernet.trainer.deploy import open_model

    seen = {}
    opened = open_model.open_detector

    def open_detector(path, **settings):
        seen.update(settings)
        return opened(path, **settings)

    def settings(*words):
        result = run(*words)
        assert result.exit_code == 0, result.output
        return dict(seen)

    monkeypatch.setattr(open_model, "open_detector", open_detector)
    return settings


def test_predict_takes_threshold_size_scales_and_mirror(model, data, tmp_path, settings_of):
    settings = settings_of("predict", model, data / "images", "--json", tmp_path / "few.jsonl", "--threshold", 0.75)
    assert (settings["score_threshold"], settings["mirror"], settings["scales"]) == (0.75, None, (1,))
    assert (settings["size"], settings["resize"], settings["merge_exponent"]) == (None, None, None)
    options = ("--size", "256x384", "--resize", "fit", "--scales", "0.5,1", "--mirror", "--protocol", "official")
    settings = settings_of("predict", model, data / "images", "--json", tmp_path / "many.jsonl", *options)
    assert (settings["size"], settings["resize"], settings["scales"]) == ((256, 384), "fit", (0.5, 1))
    assert (settings["mirror"], settings["protocol"]) == (True, "official")


def test_the_device_is_handed_to_the_models_runtime_and_refused_in_words(model, data, tmp_path, settings_of):
    for words in (("predict", model, data / "images", "--json", tmp_path / "p.jsonl"), ("evaluate", model, data)):
        assert settings_of(*words, "--device", "cpu")["device"] == "cpu"
    for device in ("gpu", "cpu:1", "cuda:first"):
        refused = run("predict", model, data / "images", "--json", tmp_path / "p.jsonl", "--device", device)
        assert refused.exit_code == 1 and "expected cpu, cuda, or cuda:1" in refused.output


@pytest.mark.parametrize(("option", "mirrored"), [((), True), (("--mirror",), True), (("--no-mirror",), False)])
def test_the_mirrored_view_is_the_protocols_unless_it_is_said(model, data, tmp_path, option, mirrored, settings_of):
    for words in (("predict", model, data / "images", "--json", tmp_path / "p.jsonl"), ("evaluate", model, data)):
        given = settings_of(*words, "--protocol", "official", *option)["mirror"]
        assert given is (mirrored if option else None)  # None: the detector decides


def test_a_higher_threshold_finds_less_and_the_official_views_find_the_same_objects(model, data, tmp_path):
    few = run("predict", model, data / "images", "--json", tmp_path / "few.jsonl", "--threshold", 1.0)
    assert "2 objects" in few.stderr  # the box is as bright as can be
    options = ("--size", "256x256", "--scales", "0.5,1", "--mirror", "--protocol", "official")
    many = run("predict", model, data / "images", "--json", tmp_path / "many.jsonl", *options)
    assert many.exit_code == 0, many.output
    boxes = [
        [entry["box"] for entry in json.loads(line)["detections"]][:1]
        for line in (tmp_path / "many.jsonl").read_text().splitlines()
    ]
    assert boxes[0][0] == pytest.approx([10, 20, 60, 90], abs=4)
    assert boxes[1][0] == pytest.approx([40, 8, 100, 60], abs=4)
    assert boxes[2] == []


def test_plugins_are_handed_to_an_engine_and_refused_for_any_other_file(model, data, tmp_path, monkeypatch):
    from cornernet.trainer.deploy import open_model

    seen = {}
    monkeypatch.setattr(open_model, "open_backend", lambda path, **options: seen.update(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_model.open_model("any.engine", plugins="engine")
    assert seen["plugins"] == "engine"
    for words in (("predict", model, data / "images", "--json", tmp_path / "p.jsonl"), ("evaluate", model, data)):
        refused = run(*words, "--plugins", "engine")
        assert refused.exit_code == 1 and "it has no plugins" in refused.output
