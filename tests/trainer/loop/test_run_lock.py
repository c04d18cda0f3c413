"""One training per run directory."""

import json
import multiprocessing
import os
import socket
import stat
import subprocess
import sys

import pytest

from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop.run_lock import NAME, locked


def lock_of(directory, **changes):
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": None, "since": "2026-01-01 00:00:00"}
    directory.mkdir(exist_ok=True)
    (directory / NAME).write_text(json.dumps(owner | changes))


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_directory_is_held_and_left_as_it_was(tmp_path):
    with locked(tmp_path / "new" / "run"):
        owner = json.loads((tmp_path / "new" / "run" / NAME).read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        assert [file.name for file in (tmp_path / "new" / "run").iterdir()] == [NAME]
    assert not (tmp_path / "new" / "run").exists()
    with locked(tmp_path):
        (tmp_path / "last.pt").touch()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["last.pt"]


def test_a_second_training_is_told_who_is_there(tmp_path):
    with locked(tmp_path):
        with pytest.raises(TrainingError, match=f"in use: process {os.getpid()} on {socket.gethostname()}") as refused:
            locked(tmp_path).__enter__()
        assert "disk" not in str(refused.value) and "--resume" not in str(refused.value)
        assert (tmp_path / NAME).exists()
    with locked(tmp_path):
        pass


def test_the_lock_of_a_dead_process_is_taken_over_with_a_sentence(tmp_path, caplog):
    pid = dead_pid()
    lock_of(tmp_path, pid=pid)
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert f"process {pid} ended without leaving it; taken over" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="start times are read from /proc")
def test_another_process_with_the_number_of_a_dead_one_does_not_hold_its_lock(tmp_path):
    lock_of(tmp_path, started=1)  # since the first tick after boot: not this process
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("text", [None, "", "not JSON", "[1]", '{"pid": "x"}', '{"pid": -1}', "\udce9\0"])
def test_a_lock_that_nobody_can_judge_is_respected(tmp_path, text):
    lock_of(tmp_path, pid=dead_pid(), host="another-machine")
    if text is not None:
        (tmp_path / NAME).write_text(text, encoding="utf-8", errors="surrogateescape")
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(TrainingError, match=r"delete .*run\.lock"):
        locked(tmp_path).__enter__()
    assert (tmp_path / NAME).read_bytes() == before


def race(directory, start, finish, outcomes):
    start.wait()
    try:
        with locked(directory):
            outcomes.put("in")
            finish.wait()
    except TrainingError:
        outcomes.put("out")
        finish.wait()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.parametrize("attempt", range(5))
def test_of_several_that_find_one_stale_lock_a_single_one_gets_in(tmp_path, attempt):
    lock_of(tmp_path, pid=dead_pid())
    fork = multiprocessing.get_context("fork")
    start, finish, outcomes = fork.Barrier(3), fork.Barrier(3), fork.Queue()
    racers = [fork.Process(target=race, args=(tmp_path, start, finish, outcomes)) for _ in range(3)]
    for racer in racers:
        racer.start()
    assert sorted(outcomes.get(timeout=60) for _ in racers) == ["in", "out", "out"]
    for racer in racers:
        racer.join(60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_clear_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(TrainingError, match="writable"):
        locked(tmp_path).__enter__()
    tmp_path.chmod(stat.S_IRWXU)
