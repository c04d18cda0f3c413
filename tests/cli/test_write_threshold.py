"""evaluate finds the best thresholds, the model keeps them, predict uses them; nothing else of the file changes."""

import hashlib
import json

import cv2
import numpy as np
import onnx
import pytest
from fake_backends import make_card, picture, write_onnx
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.backends.engine_card import EngineCard, FileFacts, read_engine_card, write_engine_card
from cornernet.engine.backends.open import open_backend
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.export.write_card import write_card


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0, result.output
    return result


def test_evaluate_shows_the_best_threshold_and_writes_it_into_the_model(model, data, tmp_path):
    cv2.imwrite(str(data / "images" / "3.png"), picture(100, 120, (10, 10, 30, 30), value=150))  # found, and wrong
    result = run("evaluate", model, data, "--json", tmp_path / "s.json")
    overall, bright = json.loads((tmp_path / "s.json").read_text())["best_f1"]
    assert (bright["name"], bright["F1"], bright["objects"], overall["name"]) == ("bright", 1, 2, "all")
    assert 150 / 255 < bright["threshold"] < 1
    assert f"{bright['threshold']:.3f}" in result.stdout and "threshold" in result.stdout
    before = onnx.load(model)
    result = run("evaluate", model, data, "--json", tmp_path / "s.json", "--write-threshold")
    assert f"bright={bright['threshold']:.2f}" in result.stderr
    # A benchmark of the model as it is now belongs to this evaluation.
    assert json.loads((tmp_path / "s.json").read_text())["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    backend = open_backend(model)
    assert backend.card.score_thresholds == (bright["threshold"], overall["threshold"])
    backend.close()
    after = onnx.load(model)
    for content in (before, after):
        del content.metadata_props[:]
    assert before == after
    run("predict", model, data / "images", "--json", tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [len(line["detections"]) for line in lines] == [1, 1, 0]
    run("evaluate", model, data, "--json", tmp_path / "again.json")  # which still sees every box
    assert json.loads((tmp_path / "again.json").read_text())["detections"] == 3


def test_a_model_that_finds_nothing_right_is_left_as_it_is(model, data, tmp_path):
    for number in (1, 2):
        cv2.imwrite(str(data / "images" / f"{number}.png"), picture(100, 120))
    before = model.read_bytes()
    words = ["evaluate", str(model), str(data), "--json", str(tmp_path / "s.json"), "--write-threshold"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "no box was right" in result.stderr
    assert model.read_bytes() == before


def test_a_checkpoint_keeps_every_tensor(tmp_path):
    torch = pytest.importorskip("torch", reason="extra `train` is not installed")
    from cornernet.trainer.network.safetensors_file import read_safetensors, write_safetensors

    path, card = tmp_path / "a.safetensors", make_card()
    tensors = {
        "b": torch.arange(7, dtype=torch.float16),
        "a": torch.randn(3, 5),
        "c": torch.zeros((), dtype=torch.int64),
    }
    write_safetensors(path, tensors, {METADATA_KEY: card.to_json(), "other": "kept"})
    changed = card.model_copy(update={"score_thresholds": (0.25, 0.5)})
    write_card(path, changed)
    metadata, found = read_safetensors(path)
    assert ModelCard.from_json(metadata[METADATA_KEY], origin="x") == changed and metadata["other"] == "kept"
    assert all(torch.equal(found[name], tensors[name]) for name in tensors) and found.keys() == tensors.keys()
    once = path.read_bytes()
    write_safetensors(path, tensors, {METADATA_KEY: changed.to_json(), "other": "kept"})
    assert path.read_bytes() == once  # equal contents, equal bytes


def test_an_engine_s_sidecar_gets_it_and_the_plan_stays(tmp_path):
    plan = tmp_path / "a.engine"
    plan.write_bytes(b"plan")
    facts = FileFacts.of(plan)
    about = {"flavour": "tensorrt", "version": "10.12", "opt_level": 3, "inspected": "network"}
    profile = {"min": (1, 128, 128), "opt": (1, 128, 128), "max": (1, 128, 128)}
    write_engine_card(plan, EngineCard(card=make_card(), engine=facts, onnx=facts, profiles=(profile,), **about))
    write_card(plan, make_card(score_thresholds=(0.25, 0.5)))
    assert read_engine_card(plan).card.score_thresholds == (0.25, 0.5)
    assert plan.read_bytes() == b"plan"


def test_files_without_a_card_are_refused(tmp_path):
    bare = write_onnx(tmp_path / "bare.onnx", None)
    with pytest.raises(ExportError, match="no model card"):
        write_card(bare, make_card())
    (tmp_path / "a.bin").write_bytes(np.zeros(9).tobytes())
    with pytest.raises(ExportError, match="a card is written into"):
        write_card(tmp_path / "a.bin", make_card())
