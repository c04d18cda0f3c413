"""All stages at once: the results of one image after the other, whatever happens in between."""

import threading
import time

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture, write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_watch import ours

from cornernet import Detector
from cornernet.engine.running import serial
from cornernet.engine.running.stages import Stages

GOOD = picture(60, 90, (20, 30, 60, 50))


def same(first, second):
    assert [found.error for found in first] == [found.error for found in second]
    for one, other in zip(first, second, strict=True):
        for field in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        assert (one.index, one.image_size, one.path) == (other.index, other.image_size, other.path)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Files of two sizes, broken files, bytes and arrays, in a random order."""
    folder = tmp_path_factory.mktemp("mixture")
    rng = np.random.default_rng(0)
    sources = []
    for number in range(40):
        height, width = (70, 110) if number % 3 else (140, 60)
        x1, y1 = rng.integers(0, 40, 2)
        image = picture(height, width, (x1, y1, x1 + 15, y1 + 12), value=int(rng.integers(150, 255)))
        file = folder / f"{number}.png"
        cv2.imwrite(str(file), image)
        if number % 7 == 3:
            file.write_bytes(file.read_bytes()[:60])
        sources.append(file if number % 4 else (image if number % 8 else file.read_bytes()))
    return sources


@pytest.mark.parametrize("options", [{}, {"mirror": True, "scales": (1.0, 2.0)}, {"resize": "fit", "size": (128, 256)}])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_results_are_those_of_one_image_after_the_other_to_the_bit(tmp_path, mixture, options, in_flight):
    with Detector(write_onnx(tmp_path / "model.onnx", make_card()), **options) as detector:
        expected = [detector.predict(source)[0] for source in mixture]
        detector.backend.in_flight = in_flight
        for batch_size in (1, 3, 16):
            for results in (detector.predict(mixture, batch_size=batch_size),
                            list(detector.stream(iter(mixture), batch_size=batch_size))):  # fmt: skip
                assert [found.index for found in results] == list(range(len(mixture)))
                for one, other in zip(results, expected, strict=True):
                    same([one], [type(one)(**{**vars(other), "index": one.index})])


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(2, 30),
    batch_size=st.integers(1, 6),
    prefetch=st.integers(1, 9),
    threads=st.integers(1, 4),
    in_flight=st.integers(1, 3),
    slow=st.sampled_from(["nothing", "source", "backend", "caller"]),
)
def test_whoever_is_slow_nothing_is_lost_and_the_order_stays(count, batch_size, prefetch, threads, in_flight, slow):
    def wait(who):
        if who == slow:
            time.sleep(0.002)

    class Backend(FunctionBackend):
        def run(self, canvases):
            wait("backend")
            return super().run(canvases)

    def source():
        for number in range(count):
            wait("source")
            yield picture(50, 50, (number % 20, 5, number % 20 + 10, 20))

    backend = Backend(bright_box)
    backend.in_flight = in_flight
    stream = Detector(backend, threads=threads).stream(source(), batch_size=batch_size, prefetch=prefetch)
    seen = []
    for found in stream:
        wait("caller")
        seen.append((found.index, found.boxes[0, 0]))
    assert seen == [(number, number % 20) for number in range(count)]
    assert sum(shape[0] for shape in backend.shapes) == count


def test_stages_overlap_even_where_python_has_one_reader():
    """The model waits for an image that is read while it runs."""
    second_was_read = threading.Event()

    class Backend(FunctionBackend):
        def run(self, canvases):
            assert second_was_read.wait(20)
            return super().run(canvases)

    def source():
        yield GOOD
        yield GOOD
        second_was_read.set()

    assert len(list(Detector(Backend(bright_box), threads=1).stream(source()))) == 2


def test_as_many_batches_run_at_once_as_the_backend_wants():
    together = threading.Barrier(3)

    class Backend(FunctionBackend):
        in_flight = 3

        def run(self, canvases):
            together.wait(20)
            return super().run(canvases)

    results = Detector(Backend(bright_box)).predict([GOOD] * 6, batch_size=1)
    assert [found.error for found in results] == [None] * 6


def test_images_are_placed_in_memory_that_the_backend_lends_and_few_pieces_serve_many_batches():
    lent, seen = [], []

    class Backend(FunctionBackend):
        def allocate(self, size):
            lent.append(np.empty(size, np.uint8))
            return lent[-1]

        def run(self, canvases):
            seen.append(any(np.shares_memory(canvases, piece) for piece in lent))
            return super().run(canvases)

    detector = Detector(Backend(bright_box))
    for _ in range(2):
        detector.predict([GOOD] * 40, batch_size=2)
    assert seen == [True] * 40
    assert len(lent) <= 3


def test_a_single_image_starts_no_thread():
    class Backend(FunctionBackend):
        def run(self, canvases):
            assert ours() == []
            return super().run(canvases)

    detector = Detector(Backend(bright_box))
    for source in (GOOD, [GOOD], GOOD[None], cv2.imencode(".png", GOOD)[1].tobytes()):
        assert detector.predict(source)[0].error is None
        assert next(detector.stream(source)).error is None


def test_stream_reads_no_further_ahead_than_asked():
    asked = []

    def endless():
        for number in range(10_000):
            asked.append(number)
            yield GOOD

    stream = Detector(FunctionBackend(bright_box)).stream(endless(), prefetch=3)
    assert asked == []
    assert next(stream).index == 0
    time.sleep(0.2)
    assert len(asked) <= 1 + 1 + 3 + 1  # the one returned, a window, those ahead of it, and one in the thread's hand
    stream.close()


def test_decoded_pictures_do_not_pile_up_in_memory(monkeypatch, tmp_path):
    alive, most = [], []
    original = Stages.load

    def load(self, numbered):
        loaded = original(self, numbered)
        alive.append(loaded)
        most.append(sum(one.area for one in alive))
        return loaded

    monkeypatch.setattr(Stages, "load", load)
    cv2.imwrite(str(tmp_path / "a.png"), picture(100, 100))
    detector = Detector(FunctionBackend(bright_box), max_pixels=30_000, threads=2)
    results = list(detector.stream((str(tmp_path / "a.png") for _ in range(40)), batch_size=100))
    assert [found.error for found in results] == [None] * 40
    assert max(most) <= 30_000 + 2 * 10_000


def test_opencv_is_left_to_the_caller_as_it_was_while_a_stream_waits():
    stream = Detector(FunctionBackend(bright_box), resize="fit", size=(512, 512)).stream(iter([GOOD] * 4), prefetch=1)
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        next(stream)
        time.sleep(0.2)
        assert cv2.getNumThreads() == 3
        stream.close()
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_serial_reading_is_bounded_by_pixels_too():
    backend = FunctionBackend(bright_box)
    stages = Detector(backend, max_pixels=20_000).stages
    alive = [
        len(backend.shapes)
        for _ in serial.one_after_the_other(stages, [picture(100, 100)] * 6, batch_size=100, window=100)
    ]
    assert alive == [1, 1, 2, 2, 3, 3]  # two pictures reach max_pixels, and run


def test_a_runtime_on_the_cpu_runs_in_the_callers_thread_and_windows_of_broken_images_do_not_hold_it_up():
    seen = []

    class Backend(FunctionBackend):
        computes_on_cpu = True

        def run(self, canvases):
            seen.append(threading.current_thread())
            return super().run(canvases)

    sources = [b"broken", GOOD, b"broken", b"broken", GOOD, GOOD, b"broken"]
    for batch_size in (1, 2, 8):
        results = list(Detector(Backend(bright_box)).stream(sources, batch_size=batch_size))
        assert [found.error is None for found in results] == [source is GOOD for source in sources]
    assert set(seen) == {threading.current_thread()}
    assert ours() == []


def test_a_backend_on_the_cpu_that_wants_several_batches_gets_threads():
    together = threading.Barrier(2)

    class Backend(FunctionBackend):
        computes_on_cpu, in_flight = True, 2

        def run(self, canvases):
            together.wait(20)
            return super().run(canvases)

    assert [found.error for found in Detector(Backend(bright_box)).predict([GOOD] * 4, batch_size=1)] == [None] * 4
