"""Logs get what metrics.jsonl gets; each is read back with its own package, where that is installed."""

import pytest

from cornernet.engine.errors import BackendError, TrainingError
from cornernet.options import one_of
from cornernet.trainer.loop.logs import open_log as logs
from cornernet.trainer.loop.logs.open_log import LOGS, numbers, open_log

ROWS = [
    {"step": 1, "loss": 3.5, "learning_rate": 0.1},
    {"step": 4, "loss": 2.5, "learning_rate": 0.01},
    {"step": 4, "epoch": 2, "AP": 0.25, "APl": -1.0},
]
SETTINGS = {"preset": "tiny", "size": [64, 64], "augment": {"flip": 0.5}, "patience": None}


def write(name, output, rows=ROWS):
    with open_log(name, output, SETTINGS) as on_metrics:
        for row in rows:
            on_metrics(row)


def test_losses_and_validations_are_told_apart_and_nothing_measured_is_no_number():
    assert numbers(ROWS[0]) == {"train/loss": 3.5, "train/learning_rate": 0.1}
    assert numbers(ROWS[2]) == {"val/AP": 0.25}


def test_tensorboard_shows_each_step_once_though_a_run_was_resumed(tmp_path):
    pytest.importorskip("tensorboard", reason="extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write("tensorboard", tmp_path, [{"step": 1, "loss": 3.5}, {"step": 4, "loss": 9.0}, {"step": 5, "loss": 9.0}])
    write("tensorboard", tmp_path, ROWS[1:])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 3.5), (4, 2.5)]
    assert [(event.step, event.value) for event in events.Scalars("val/AP")] == [(4, 0.25)]


def test_mlflow_shows_numbers_and_settings(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    try:
        write("mlflow", tmp_path / "run7")
        client = mlflow.MlflowClient()
        (run,) = client.search_runs(["0"])
        assert run.info.run_name == "run7" and run.data.params["preset"] == "tiny"
        losses = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(entry.step, entry.value) for entry in losses] == [(1, 3.5), (4, 2.5)]
    finally:
        mlflow.set_tracking_uri(before)


def test_wandb_is_given_numbers_settings_and_an_end(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="extra `wandb` is not installed")
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((step, values))

        def finish(self):
            calls.append("finished")

    monkeypatch.setattr(wandb, "init", lambda **about: calls.append(about) or Run())
    write("wandb", tmp_path / "run7")
    assert calls[0]["config"] == SETTINGS and calls[0]["group"] == "run7"
    assert calls[1:] == [(row["step"], numbers(row)) for row in ROWS] + ["finished"]


@pytest.mark.parametrize("name", LOGS)
def test_a_run_that_is_refused_leaves_no_trace_in_a_log(tmp_path, name):
    pytest.importorskip(name, reason=f"extra `{name}` is not installed")
    with pytest.raises(ZeroDivisionError), open_log(name, tmp_path / "run", SETTINGS):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_is_not_there_or_not_installed_is_refused_with_the_cure(tmp_path, monkeypatch):
    with pytest.raises(TrainingError, match="tensorboard, wandb, mlflow"), open_log("comet", tmp_path, {}):
        pass
    monkeypatch.setitem(logs._PACKAGES, "wandb", "package_that_is_nowhere")
    monkeypatch.setitem(__import__("cornernet.engine.installation").engine.installation.EXTRA_OF_PACKAGE,
                        "package_that_is_nowhere", "wandb")  # fmt: skip
    with pytest.raises(BackendError, match=r"\[wandb\]"), open_log("wandb", tmp_path, {}):
        pass


def test_the_command_knows_the_logs_there_are(root):
    source = (root / "cornernet" / "commands" / "train.py").read_text(encoding="utf-8")
    assert f"one_of({', '.join(chr(34) + name + chr(34) for name in LOGS)})" in source
    assert one_of(*LOGS)("mlflow") == "mlflow"
