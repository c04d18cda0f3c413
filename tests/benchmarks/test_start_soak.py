"""The soak of starts in seconds, and that it sees what is left behind."""

import os
import signal
import subprocess
import sys

import pytest

from cornernet.benchmarks import start_soak as module
from cornernet.benchmarks.start_soak import StartError, main, soak

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.mark.slow
def test_workers_end_in_every_way_and_a_training_is_told_to_end():
    """In a process of its own: a fork server that is there already would not hand on the mark."""
    command = [sys.executable, "-m", "cornernet.benchmarks.start_soak", "--starts", "6", "--every", "6", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "6 starts of 2 workers: none hung, no process was left" in done.stdout
    assert all(f"    1  {ending}\n" in done.stdout for ending in module._ENDINGS) and "training, SIG" in done.stdout


def test_a_process_that_is_left_is_found(tmp_path, monkeypatch, capsys):
    def leave(*given):
        command = ["sh", "-c", "sleep 60 & echo; wait"]
        kept.append(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
        kept[-1].stdout.readline()
        return "whole epoch"

    kept = []
    monkeypatch.setattr(module, "_begin", leave)
    monkeypatch.setattr(module, "GONE_SECONDS", 0)
    try:
        assert main(["--starts", "1"]) == 1
        assert "start 0 (whole epoch) left the processes [" in capsys.readouterr().err
        with pytest.raises(StartError, match="left the processes"):
            soak(1, tmp_path)
    finally:
        for process in kept:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
