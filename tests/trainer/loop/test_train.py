"""The loop on a handful of drawn shapes: what it leaves, what it refuses, how it ends."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop import train as loop
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.resume_file import load_resume, save_resume
from cornernet.trainer.loop.train import train
from cornernet.trainer.network.checkpoint import load_checkpoint

SMALL = {"preset": "tiny", "size": (64, 64), "batch_size": 4, "workers": 0, "log_every": 1, "validate_every": 2}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=10, val=4, seed=3)


def run(shapes, output, *, resume=False, init=None, validate=True, **changes):
    config = TrainConfig(**(SMALL | changes))
    val = load_coco(shapes, "val") if validate else None
    return train(config, load_coco(shapes, "train"), val, output, resume=resume, init=init, device="cpu", quiet=True)


def weights(output):
    return load_resume(output / "last.pt")["network"]


def metrics(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_checkpoints_metrics_and_pictures(shapes, tmp_path):
    report = run(shapes, tmp_path / "run", epochs=2, ema_decay=0.99)
    files = {file.name for file in (tmp_path / "run").iterdir()}
    expected = {"last.pt", "last.safetensors", "best.safetensors", "metrics.jsonl", "losses.png", "ap.png"}
    assert expected | {"predictions.png"} == files
    assert report.steps == 2 * 3
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert any("AP" in row for row in rows)
    network, card = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert card.class_names == load_coco(shapes, "train").class_names
    assert card.train_size == (64, 64)
    assert network.config.num_classes == 3


def test_training_lowers_the_loss(shapes, tmp_path):
    still = {"scales": (1.0,), "centre": True, "flip": 0, "colour": 0, "lighting": 0}
    run(shapes, tmp_path / "run", epochs=20, validate=False, learning_rate=2e-3, augment=still)
    losses = [row["loss"] for row in metrics(tmp_path / "run")]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "gradient_clip": 1.0, "schedule": "cosine"}])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(shapes, tmp_path, monkeypatch, changes):
    run(shapes, tmp_path / "whole", epochs=3, validate=False, **changes)
    _interrupt_after(monkeypatch, steps=4)
    report = run(shapes, tmp_path / "parts", epochs=3, validate=False, **changes)
    assert report.interrupted and report.steps == 4
    monkeypatch.undo()
    assert not run(shapes, tmp_path / "parts", epochs=3, validate=False, resume=True, **changes).interrupted
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def _interrupt_after(monkeypatch, *, steps):
    """Raise the flag that Ctrl-C raises, in the middle of the second epoch."""
    from cornernet.trainer.loop import interrupt
    from cornernet.trainer.loop import train as loop

    class Timed(interrupt.Interrupt):
        seen = 0

        @property
        def asked(self):
            self.seen += 1
            return self.seen >= steps

        @asked.setter
        def asked(self, value):
            pass

    monkeypatch.setattr(loop, "Interrupt", Timed)


def test_resuming_another_run_is_refused_naming_what_differs(shapes, tmp_path):
    run(shapes, tmp_path / "run", epochs=1, validate=False)
    with pytest.raises(TrainingError, match="learning_rate"):
        run(shapes, tmp_path / "run", epochs=2, validate=False, resume=True, learning_rate=0.5)
    with pytest.raises(TrainingError, match="--resume"):
        run(shapes, tmp_path / "run", epochs=2, validate=False)


def test_fine_tuning_starts_from_the_given_weights(shapes, tmp_path):
    run(shapes, tmp_path / "first", epochs=1, validate=False)
    run(shapes, tmp_path / "second", epochs=1, validate=False, init=tmp_path / "first" / "last.safetensors",
        learning_rate=1e-12, freeze_batch_norm=True)  # fmt: skip
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-6) for name in first)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(shapes, tmp_path):
    run(shapes, tmp_path / "run", epochs=1, validate=False)
    good = weights(tmp_path / "run")
    state = load_resume(tmp_path / "run" / "last.pt")
    state["config"]["learning_rate"] = 1e20
    save_resume(tmp_path / "run" / "last.pt", state)
    with pytest.raises(TrainingError, match="last good checkpoint"):
        run(shapes, tmp_path / "run", epochs=50, validate=False, resume=True, learning_rate=1e20)
    kept = weights(tmp_path / "run")
    assert all(torch.isfinite(tensor.float()).all() for tensor in kept.values())
    assert all(torch.equal(good[name], kept[name]) for name in good)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_trains_with_finite_loss(shapes, tmp_path, precision):
    run(shapes, tmp_path / "run", epochs=1, validate=False, precision=precision)
    assert all(row["loss"] < 1e4 for row in metrics(tmp_path / "run"))


COMMAND = ["-m", "cornernet", "train"]
OPTIONS = ["--preset", "tiny", "--size", "64x64", "--batch-size", "4", "--val-split", "none", "--set", "log_every=1",
           "--set", "workers=0"]  # fmt: skip


def test_ctrl_c_writes_a_checkpoint_and_tells_how_to_go_on(shapes, tmp_path):
    output = tmp_path / "run"
    command = [sys.executable, *COMMAND, str(shapes), "-o", str(output), "--epochs", "10000", *OPTIONS]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not (output / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr
    assert load_resume(output / "last.pt")["step"] >= 1


def test_a_second_training_in_a_directory_is_refused_as_long_as_the_first_runs(shapes, tmp_path, monkeypatch):
    second = []

    def meanwhile(*given):
        with pytest.raises(TrainingError) as refused:
            run(shapes, tmp_path / "run", epochs=1, validate=False, resume=bool(second))
        second.append(str(refused.value))
        return optimise(*given)

    optimise = loop.optimise
    monkeypatch.setattr(loop, "optimise", meanwhile)
    assert run(shapes, tmp_path / "run", epochs=1, validate=False).steps == 3
    assert all("is in use: process" in text and "disk" not in text for text in second)
    assert not (tmp_path / "run" / "run.lock").exists()


def test_speed_counts_steps_not_validations(shapes, tmp_path, monkeypatch):
    clock = [0.0]

    def taking(seconds, work):
        def timed(*given, **named):
            clock[0] += seconds
            return work(*given, **named)

        return timed

    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loop, "optimise", taking(2, loop.optimise))
    monkeypatch.setattr(loop, "measure_ap", taking(100, loop.measure_ap))
    monkeypatch.setattr(loop.checkpoint, "save_checkpoint", taking(50, loop.checkpoint.save_checkpoint))
    run(shapes, tmp_path / "run", epochs=2, validate_every=1, log_every=2)
    rows = [row for row in metrics(tmp_path / "run") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 6]  # and the end of each epoch, which is what is shown
    assert {row["images_per_second"] for row in rows} == {2.0}


def test_the_loss_that_is_shown_is_of_the_epoch_that_ends(shapes, tmp_path, capsys):
    config = TrainConfig(**(SMALL | {"epochs": 3, "log_every": 100}))
    rows = []
    train(config, load_coco(shapes, "train"), None, tmp_path / "run", device="cpu", on_metrics=rows.append)
    assert rows == metrics(tmp_path / "run")
    shown = re.findall(r"epoch \d loss (\S+)", capsys.readouterr().err)
    losses = {row["step"]: row["loss"] for row in metrics(tmp_path / "run")}
    assert shown == [f"{losses[step]:.3f}" for step in (3, 6, 9)]
