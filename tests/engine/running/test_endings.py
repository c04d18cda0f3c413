"""However a run ends, its threads end too: closed, failed, abandoned, forked, or blocked in the caller's iterator."""

import gc
import os
import subprocess
import sys
import threading
import time

import pytest
from fake_backends import FunctionBackend, bright_box, picture
from thread_watch import ours

from cornernet import Detector
from cornernet.engine.running.stages import Stages

GOOD = picture(60, 90, (20, 30, 60, 50))


def test_closing_a_stream_ends_its_threads_and_its_source():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield GOOD
        finally:
            closed.set()

    stream = Detector(FunctionBackend(bright_box)).stream(source(), prefetch=2)
    next(stream)
    assert {"cornernet-source", "cornernet-assembly", "cornernet-runner-0"} <= set(ours())
    stream.close()
    assert ours() == []
    assert closed.wait(2)


def test_a_source_that_blocks_holds_up_neither_the_images_before_it_nor_closing():
    camera = threading.Event()

    def source():
        yield GOOD
        yield GOOD
        camera.wait(30)

    stream = Detector(FunctionBackend(bright_box)).stream(source(), batch_size=8)
    assert [next(stream).index, next(stream).index] == [0, 1]
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 10
    assert ours() in ([], ["cornernet-source"])
    camera.set()
    deadline = time.monotonic() + 10
    while ours() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("error", [OSError("camera unplugged"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_of_the_source_is_raised_after_the_results_before_it(error):
    def source():
        for _ in range(5):
            yield GOOD
        raise error

    for batch_size in (1, 2, 8):
        stream = Detector(FunctionBackend(bright_box)).stream(source(), batch_size=batch_size)
        assert [next(stream).index for _ in range(5)] == list(range(5))
        with pytest.raises(type(error)) as raised:
            next(stream)
        assert raised.value is error


def test_a_backend_that_fails_now_and_then_costs_the_images_of_those_batches_alone():
    class Fails(FunctionBackend):
        def run(self, canvases):
            if len(self.shapes) % 3 == 1:
                self.shapes.append(canvases.shape)
                raise ValueError("the driver is in a bad mood")
            return super().run(canvases)

    results = Detector(Fails(bright_box)).predict([GOOD] * 20, batch_size=2)
    errors = [found.error for found in results]
    assert errors == [None, None, "fake failed: the driver is in a bad mood", errors[2], None, None] * 3 + [None, None]


def test_a_mistake_of_ours_is_raised_and_does_not_hang(monkeypatch):
    def broken(*_):
        raise AssertionError("an impossible state")

    for stage in ("views", "place", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(Stages, stage, broken)
            with pytest.raises(AssertionError, match="an impossible state"):
                Detector(FunctionBackend(bright_box)).predict([GOOD] * 10, batch_size=2)
        assert ours() == []


def test_an_exception_in_the_callers_loop_ends_all_threads():
    detector = Detector(FunctionBackend(bright_box))
    with pytest.raises(ZeroDivisionError):
        for found in detector.stream([GOOD] * 50):
            1 / (found.index - found.index)
    gc.collect()
    assert ours() == []


def test_a_run_that_was_abandoned_does_not_keep_the_interpreter(tmp_path):
    script = (
        "from fake_backends import *\nfrom cornernet import Detector\n"
        "stream = Detector(FunctionBackend(bright_box)).stream(picture(50, 50) for _ in iter(int, 1))\n"
        "print(next(stream).index)\n"
    )
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_neither_hangs_nor_disturbs_the_parent():
    stream = Detector(FunctionBackend(bright_box)).stream(iter([GOOD] * 20))
    next(stream)
    child = os.fork()
    if child == 0:
        stream.close()
        os._exit(0)
    deadline = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert done == (child, 0)
    assert len(list(stream)) == 19
