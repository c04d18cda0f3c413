"""A CornerNet-Saccade through the Detector: crops, batches of many images, and one result per image whatever fails."""

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_saccade import AT_THE_EDGE, LARGE, TINY, SceneBackend, saccade_card, same, scene
from thread_watch import nothing_is_left_behind

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import Saccade
from cornernet.engine.saccade.two_looks import TOGETHER, TwoLooks

__all__ = ["nothing_is_left_behind"]


def test_an_object_too_small_for_the_views_is_found_in_a_crop_and_a_large_one_in_both():
    backend = SceneBackend()
    (found,) = Detector(backend, soft_nms="hard").predict(scene(TINY, LARGE))
    assert found.error is None and len(found) == 2
    for x1, y1, x2, y2, bright in (TINY, LARGE):
        (place,) = np.flatnonzero(np.isclose(found.scores, bright / 255, atol=0.01))
        np.testing.assert_allclose(found.boxes[place], (x1, y1, x2, y2), atol=2.5)
    assert len(Detector(SceneBackend(), max_crops=0).predict(scene(TINY, LARGE))[0]) == 1


def test_an_object_at_the_edge_of_the_image_is_found_in_the_views_but_not_by_the_official_protocol():
    card = saccade_card(2, saccade=Saccade(view_sizes=(255,), max_crops=0))
    (found,) = Detector(SceneBackend(card)).predict(scene(AT_THE_EDGE))
    np.testing.assert_allclose(found.boxes, [AT_THE_EDGE[:4]], atol=3)
    assert len(Detector(SceneBackend(card), protocol="official").predict(scene(AT_THE_EDGE))[0]) == 0


def test_its_crops_are_merged_on_the_host_whatever_the_backend_offers():
    with pytest.raises(BackendError, match=r'results="device": a CornerNet-Saccade\'s crops are merged'):
        Detector(SceneBackend()).predict(scene(TINY), results="device")
    with pytest.raises(BackendError, match="device_postprocessing=True: a CornerNet-Saccade's crops are merged"):
        Detector(SceneBackend(), device_postprocessing=True)


def test_crops_of_many_images_share_batches():
    backend = SceneBackend()
    images = [scene(TINY, LARGE), scene(LARGE), scene(), scene(TINY)] * 2
    results = Detector(backend, soft_nms="hard").predict(images, batch_size=8)
    assert [len(found) for found in results] == [2, 1, 0, 1] * 2
    counts = [shape[0] for shape in backend.shapes]
    assert counts[0] == 16 and max(counts) <= TOGETHER  # two views of eight images, then crops
    assert len(counts[1:]) == -(-sum(counts[1:]) // TOGETHER)


@pytest.mark.parametrize("together", [TOGETHER, 7])
def test_all_crops_of_an_image_are_looked_at_together_however_few_images_are(monkeypatch, together):
    monkeypatch.setattr(TwoLooks, "together", together)
    objects = [(x, y, x + 20, y + 20, 150 + x // 8) for x in range(40, 600, 140) for y in range(40, 440, 110)]
    images = [scene(*objects), scene(TINY), scene()]

    def calls_of(images, **settings):
        """Canvases of each call of the backend, and the results."""
        backend = SceneBackend()
        found = list(Detector(backend, soft_nms="hard").stream(iter(images), **settings))
        return [shape[0] for shape in backend.shapes], found

    whole = [calls_of([image], batch_size=1000) for image in images]
    crops = [sum(calls[1:]) for calls, _ in whole]
    assert crops[0] > 3 * 7 and crops[1] > 0 == crops[2]
    for image, count in zip(images, crops):
        calls, _ = calls_of([image], batch_size=1)
        assert calls == [2, *(min(together, count - start) for start in range(0, count, together))]
        assert len(calls) - 1 == -(-count // together)
    calls, found = calls_of(images, batch_size=1)
    assert len(calls) == sum(1 + -(-count // together) for count in crops)
    same(found, [one for _, (one,) in whole])


@pytest.mark.parametrize(("protocol", "on_cpu"), [("default", True), ("default", False), ("official", False)])
def test_results_are_those_of_one_image_after_the_other_to_the_bit(protocol, on_cpu):
    backend = SceneBackend()
    backend.computes_on_cpu = on_cpu
    backend.in_flight = 1 if on_cpu else 3
    detector = Detector(backend, protocol=protocol)
    rng = np.random.default_rng(0)
    images = []
    for number in range(7):
        x, y, side = (int(value) for value in rng.integers((0, 0, 5), (200, 150, 120)))
        images.append(scene((x, y, x + side, y + side, 100 + 10 * number), height=300, width=200 + 20 * number))
    expected = [detector.predict(image)[0] for image in images]
    for batch_size in (1, 5):
        same(detector.predict(images, batch_size=batch_size), expected)
        streamed = list(detector.stream(iter(images), batch_size=batch_size, prefetch=2))
        same(streamed, expected)
        assert [found.index for found in streamed] == list(range(7))


@settings(max_examples=10, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["tiny", "large", "none", "unreadable", "breaks views", "one pixel"]), max_size=12),
    batch_size=st.integers(1, 7),
    threads=st.integers(1, 3),
    on_cpu=st.booleans(),
)
def test_whatever_happens_there_is_one_result_per_image_in_order(kinds, batch_size, threads, on_cpu):
    pictures = {
        "tiny": scene(TINY),
        "large": scene(LARGE),
        "none": scene(),
        "unreadable": b"no picture",
        "breaks views": scene((200, 200, 400, 300, 255)),
        "one pixel": scene(height=1, width=1),
    }
    backend = SceneBackend(fail_on=(255,))
    backend.computes_on_cpu = on_cpu
    detector = Detector(backend, threads=threads, soft_nms="hard")
    results = list(detector.stream((pictures[kind] for kind in kinds), batch_size=batch_size))
    assert [found.index for found in results] == list(range(len(kinds)))
    for kind, found in zip(kinds, results):
        if kind in ("unreadable", "breaks views"):
            assert found.error
        elif found.error:  # it shared a batch with one that failed
            assert "breaks views" in kinds and "planted failure" in found.error
        else:
            assert len(found) == (kind in ("tiny", "large"))


class FailsInCrops(SceneBackend):
    """Runs the views of `pictures` images, then nothing."""

    def __init__(self, pictures):
        super().__init__()
        self.left = 2 * pictures

    def run(self, canvases):
        if self.left <= 0:
            raise MemoryError("planted failure")
        self.left -= len(canvases)
        return super().run(canvases)


def test_where_all_crops_fail_images_without_any_keep_their_results():
    images = [scene(TINY), scene(), scene(LARGE)]
    results = Detector(FailsInCrops(3)).predict(images, batch_size=6)
    assert [found.error for found in results] == [
        "scene failed: planted failure",
        None,
        "scene failed: planted failure",
    ]
    assert [len(found) for found in results] == [0, 0, 0]


def test_a_window_that_misses_the_image_is_left_out_and_nothing_stops():
    """Q6: a box of the views may be centred outside the image; the official code stops there."""

    class Outside(SceneBackend):
        def run(self, canvases):
            raw = super().run(canvases)
            if len(self.shapes) == 1:
                raw.boxes[:, 0] = -900, -900, -700, -700
                raw.scores[:, 0], raw.labels[:, 0], raw.counts[:] = 0.9, 0, 1
            return raw

    for protocol, crops in (("official", 0), ("default", 0)):
        backend = Outside()
        (found,) = Detector(backend, protocol=protocol).predict(scene())
        assert found.error is None
        assert len(backend.shapes) == 1 + crops
        assert len(found) == (2 if protocol == "official" else 0)  # there, boxes are not clipped


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from(["default", "official"]), st.integers(0, 10**6))
def test_no_size_of_an_image_fails(height, width, protocol, seed):
    rng = np.random.default_rng(seed)
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    image = scene((x, y, x + int(rng.integers(1, 200)), y + int(rng.integers(1, 200)), 220), height=height, width=width)
    (found,) = Detector(SceneBackend(), protocol=protocol).predict(image)
    assert found.error is None and np.isfinite(found.boxes).all()
    if protocol == "default":
        assert (found.boxes >= 0).all() and (found.boxes <= (width, height, width, height)).all()


def test_no_more_pictures_than_the_stream_promises_are_in_memory():
    """A window waits for its second look with its pictures; the source waits for the window."""
    taken, given = 0, []
    lock = threading.Lock()

    def source():
        for _ in range(16):
            with lock:
                given.append(1)
            yield scene(TINY, LARGE)

    backend = SceneBackend(seconds=0.001)
    backend.in_flight = 2
    for found in Detector(backend, threads=2).stream(source(), batch_size=3, prefetch=4):
        assert found.error is None
        with lock:
            # A window is the caller's already, and one picture in the source's hands.
            assert len(given) - taken <= (3 + 4) + 3 + 1
        taken += 1
    assert taken == 16


def test_frames_of_a_video_are_looked_at_twice(tmp_path):
    path = tmp_path / "film.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for number in range(5):
        film.write(scene((40 + 20 * number, 100, 80 + 20 * number, 140, 220), height=240, width=320))
    film.release()
    results = list(Detector(SceneBackend(), soft_nms="hard").stream(str(path), batch_size=2))
    assert [found.frame for found in results] == list(range(5))
    for number, found in enumerate(results):
        assert found.boxes[0] == pytest.approx((40 + 20 * number, 100, 80 + 20 * number, 140), abs=4)


def test_kept_images_come_with_their_results():
    images = [scene(TINY), scene(LARGE)] * 3
    for found, image in zip(Detector(SceneBackend()).predict(images, keep_images=True), images):
        assert found.image is image
