"""What a run shows where there is no terminal: a line per epoch."""

from cornernet.trainer.loop import progress
from cornernet.trainer.loop.progress import Progress


def test_the_time_left_is_that_of_the_epochs_so_far(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with Progress(10, enabled=True) as shown:
        for epoch in (5, 6, 7, 10):  # a run that was resumed after four
            if epoch == 5:
                shown.step(4.5, {"loss": 3.0})
            clock[0] += 60
            shown.step(epoch, {"loss": 2.0})
            shown.epoch_done(epoch)
            shown.validated(0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 5 loss 2.000 left 0:10:00"  # 60 s for half an epoch
    assert lines[1] == "epoch 6 loss 2.000 AP 0.250 left 0:05:20"  # 120 s for one and a half
    assert lines[3] == "epoch 10 loss 2.000 AP 0.250"


def test_nothing_is_shown_where_nobody_should_speak(capsys):
    with Progress(2, enabled=False) as shown:
        shown.step(1, {"loss": 2.0})
        shown.epoch_done(1)
    assert capsys.readouterr() == ("", "")
