"""A run that was interrupted, at any step or killed at any moment, ends as if nothing had been."""

import json

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop import resume_file
from cornernet.trainer.loop import train as loop
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.interrupt import Interrupt
from cornernet.trainer.loop.resume_file import load_resume
from cornernet.trainer.loop.train import train

# Two steps an epoch, a validation after each: every kind of step is the last of an epoch, of the run, or neither.
SHORT = {"preset": "tiny", "size": (32, 32), "batch_size": 2, "epochs": 2, "log_every": 1, "validate_every": 1}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=2, seed=3, size=(64, 64))


def run(shapes, output, *, resume=False, **changes):
    config = TrainConfig(**(SHORT | changes))
    data = (load_coco(shapes, split) for split in ("train", "val"))
    return train(config, *data, output, resume=resume, device="cpu", quiet=True)


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """They are tested with the rest of a run, and cost more than its steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_run", lambda *given: None)
        yield


@pytest.fixture(scope="module")
def whole(shapes, tmp_path_factory):
    """The uninterrupted run."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    return run(shapes, output)


def rows(output):
    found = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in found]


def assert_same_run(report, whole):
    assert (report.steps, report.best_ap, report.interrupted) == (whole.steps, whole.best_ap, False)
    assert report.best_ap >= 0
    for name in ("last.safetensors", "best.safetensors"):
        assert (report.output / name).read_bytes() == (whole.output / name).read_bytes()
    assert rows(report.output) == rows(whole.output)
    ours, theirs = (load_resume(folder.output / "last.pt") for folder in (report, whole))
    assert {key: ours[key] for key in ("step", "validated", "best_ap")} == {
        key: theirs[key] for key in ("step", "validated", "best_ap")
    }


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_run_interrupted_after_any_step_and_resumed_equals_the_whole_one(shapes, whole, tmp_path, monkeypatch, steps):
    class AfterSteps(Interrupt):
        @property
        def asked(self):
            return done[0] >= steps

        @asked.setter
        def asked(self, value):
            pass

    done = [0]
    optimise = loop.optimise
    monkeypatch.setattr(loop, "optimise", lambda *given: (done.__setitem__(0, done[0] + 1), optimise(*given))[1])
    monkeypatch.setattr(loop, "Interrupt", AfterSteps)
    report = run(shapes, tmp_path / "run")
    assert report.interrupted and report.steps == steps
    monkeypatch.undo()
    assert_same_run(run(shapes, tmp_path / "run", resume=True), whole)


class Killed(BaseException):
    """Nothing of ours catches it, so nothing is saved or tidied that a kill would not leave behind too."""


@pytest.mark.parametrize("moment", ["in a step", "in the validation", "after the validation", "at the very end"])
def test_a_run_killed_at_any_moment_and_resumed_equals_the_whole_one(shapes, whole, tmp_path, monkeypatch, moment):
    target, name, calls = {
        "in a step": (loop, "optimise", 4),
        "in the validation": (loop, "measure_ap", 2),
        "after the validation": (resume_file, "save_resume", 4),
        "at the very end": (loop, "draw_run", 1),
    }[moment]
    function, seen = getattr(target, name), []

    def kill(*given, **named):
        seen.append(1)
        if len(seen) == calls:
            raise Killed
        return function(*given, **named)

    monkeypatch.setattr(target, name, kill)
    with pytest.raises(Killed):
        run(shapes, tmp_path / "run")
    monkeypatch.undo()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a line that was being written
    assert_same_run(run(shapes, tmp_path / "run", resume=True), whole)


def test_a_run_that_died_before_its_first_checkpoint_leaves_nothing_to_the_next(shapes, whole, tmp_path, monkeypatch):
    def die(*given, **named):
        raise Killed

    monkeypatch.setattr(loop.checkpoint, "save_checkpoint", die)
    with pytest.raises(Killed):
        run(shapes, tmp_path / "run")
    assert len(rows(tmp_path / "run")) == 2
    monkeypatch.undo()
    assert_same_run(run(shapes, tmp_path / "run"), whole)


def test_metrics_of_another_program_are_not_deleted(shapes, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "accuracy": 0.5}\n')
    with pytest.raises(TrainingError, match="not written by a training"):
        run(shapes, tmp_path)
    assert "accuracy" in (tmp_path / "metrics.jsonl").read_text()


def test_a_finished_run_goes_on_with_more_epochs(shapes, whole, tmp_path):
    run(shapes, tmp_path / "run", epochs=1)
    assert_same_run(run(shapes, tmp_path / "run", epochs=2, resume=True), whole)


@pytest.mark.slow
def test_batches_that_workers_prepare_make_the_same_run_resumed_with_any_number_of_them(
    shapes, whole, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(loop, "automatic_workers", lambda *given, **named: asked.append((given, named)) or 2)
    run(shapes, tmp_path / "run", epochs=1)
    numbers = 3 * 32 * 32 + 2 * 3 * 8 * 8  # of an image and two heatmaps of three classes
    assert asked == [((torch.device("cpu"), 2 * 4 * numbers), {"trainings": 1})]
    assert_same_run(run(shapes, tmp_path / "run", epochs=2, resume=True, workers=1), whole)
    assert len(asked) == 1


def test_other_training_images_are_another_run(shapes, whole, tmp_path):
    run(shapes, tmp_path / "run", epochs=1)
    more = generate_shapes(tmp_path / "more", train=6, val=2, seed=3, size=(64, 64))
    with pytest.raises(TrainingError, match="images are others"):
        run(more, tmp_path / "run", resume=True)


def test_nothing_to_resume_from_is_said_and_leaves_nothing(shapes, tmp_path):
    with pytest.raises(TrainingError, match="start without --resume"):
        run(shapes, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_patience_ends_a_run_whose_ap_no_longer_rises(shapes, tmp_path, monkeypatch):
    measure = loop.measure_ap
    aps = iter([0.1, 0.3, 0.2, 0.3, 0.4])

    def scripted(*given, **named):
        report = measure(*given, **named)
        report.stats.values["AP"] = next(aps)
        return report

    monkeypatch.setattr(loop, "measure_ap", scripted)
    report = run(shapes, tmp_path / "run", epochs=9, patience=2)
    assert (report.steps, report.best_ap, report.stopped_early, report.interrupted) == (8, 0.3, True, False)
    again = run(shapes, tmp_path / "run", epochs=9, patience=2, resume=True)
    assert (again.steps, again.stopped_early) == (8, True)
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["without_gain"] == 2
