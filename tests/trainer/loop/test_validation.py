"""A validation can be wrong, fail or be interrupted; it never costs a step of training, and never reads as AP 0."""

import dataclasses

import pytest

from cornernet.engine.errors import DatasetError, TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.loop import train as loop
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.resume_file import load_resume
from cornernet.trainer.loop.train import train

SHORT = {"preset": "tiny", "size": (32, 32), "batch_size": 2, "epochs": 2, "log_every": 1, "validate_every": 1}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=3, seed=3, size=(64, 64))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(loop, "draw_run", lambda *given: None)


def run(shapes, output, *, val=None, resume=False, **changes):
    val = val if val is not None else load_coco(shapes, "val")
    config = TrainConfig(**(SHORT | changes))
    return train(config, load_coco(shapes, "train"), val, output, resume=resume, device="cpu", quiet=True)


def test_validation_data_without_a_class_of_the_training_data_is_refused_before_any_step(shapes, tmp_path):
    other = dataclasses.replace(load_coco(shapes, "val"), class_names=("cat", "dog", "mouse"))
    with pytest.raises(DatasetError, match="no class name in common"):
        run(shapes, tmp_path / "run", val=other)
    assert not (tmp_path / "run").exists()


def test_classes_that_only_one_of_them_has_are_told_at_the_start(shapes, tmp_path, caplog, monkeypatch):
    other = dataclasses.replace(load_coco(shapes, "val"), class_names=("rectangle", "dog", "mouse"))
    monkeypatch.setattr(loop, "optimise", lambda *given: pytest.exit("a step"))  # told before it
    with pytest.raises(pytest.exit.Exception):
        run(shapes, tmp_path / "run", val=other)
    assert "scored as not found: dog, mouse" in caplog.text


def test_a_network_that_cannot_be_run_is_an_error_with_the_weights_saved_and_no_ap_of_0(shapes, tmp_path, monkeypatch):
    def no_memory(self, canvases):
        raise RuntimeError("CUDA out of memory")

    real = TorchBackend.__init__

    def broken(self, *given, **named):
        real(self, *given, **named)
        self._network = lambda images: no_memory(self, images)

    monkeypatch.setattr(TorchBackend, "__init__", broken)
    with pytest.raises(TrainingError, match=r"validation after epoch 1 failed.*on 3 of 3.*out of memory.*--resume"):
        run(shapes, tmp_path / "run", checkpoint_every=2)  # no checkpoint is due, and yet there is one
    assert load_resume(tmp_path / "run" / "last.pt")["step"] == 2
    assert '"AP"' not in (tmp_path / "run" / "metrics.jsonl").read_text()
    monkeypatch.undo()
    report = run(shapes, tmp_path / "run", resume=True, checkpoint_every=2)
    assert report.steps == 4 and report.best_ap >= 0
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_a_picture_that_cannot_be_read_is_named_and_counted_and_all_of_them_are_an_error(shapes, tmp_path, caplog):
    data = load_coco(shapes, "val")
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    samples = [dataclasses.replace(sample, path=bad) for sample in data.samples]
    one = dataclasses.replace(data, samples=(samples[0], *data.samples[1:]))
    run(shapes, tmp_path / "one", val=one)
    assert caplog.text.count("its objects count as not found") == 1  # in two validations
    assert '"unusable_images": 1' in (tmp_path / "one" / "metrics.jsonl").read_text()
    with pytest.raises(TrainingError, match=r"none of the 3 validation pictures could be used.*bad\.png"):
        run(shapes, tmp_path / "all", val=dataclasses.replace(data, samples=tuple(samples)))
    assert load_resume(tmp_path / "all" / "last.pt")["step"] == 2


def test_a_signal_ends_a_long_validation_which_is_made_up_for_when_the_run_goes_on(shapes, tmp_path, monkeypatch):
    interrupts = []
    interrupt, measure = loop.Interrupt, loop.measure_ap

    def interruptible():
        interrupts.append(interrupt())
        return interrupts[-1]

    def interrupted(*given, progress, **named):
        interrupts[-1].asked = True  # Ctrl-C while it runs
        return measure(*given, progress=progress, **named)

    monkeypatch.setattr(loop, "Interrupt", interruptible)
    monkeypatch.setattr(loop, "measure_ap", interrupted)
    report = run(shapes, tmp_path / "run", epochs=1)
    assert report.interrupted and (report.steps, report.best_ap) == (2, -1)
    monkeypatch.undo()
    report = run(shapes, tmp_path / "run", epochs=1, resume=True)
    assert not report.interrupted and report.best_ap >= 0
    assert (tmp_path / "run" / "best.safetensors").exists()
