"""Results that carry their pictures: right ones, no deadlock, and memory bounded as without them."""

import gc
import weakref

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, picture

from cornernet.engine.detector import Detector
from cornernet.engine.running.room import Room

SIDE = 50


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    for number in range(60):
        cv2.imwrite(str(folder / f"{number:02}.png"), picture(SIDE, SIDE, (1, 1, 20, 20), value=130 + number))
    (folder / "07.png").write_bytes(b"broken")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("pictures", [1, 3, 100])
def test_each_result_has_its_own_picture_however_little_room_there_is(files, batch_size, pictures):
    detector = Detector(FunctionBackend(bright_box), max_pixels=pictures * SIDE**2)
    results = list(detector.stream(files, batch_size=batch_size, keep_images=True))
    assert len(results) == 60 and results[7].image is None
    for number, found in enumerate(results):
        if number != 7:
            assert found.image.max() == 130 + number and len(found) == 1


def test_pictures_in_memory_stay_few_while_the_caller_takes_them(files, monkeypatch):
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    class Counted(np.ndarray):
        """An array that can be in a WeakSet."""

        __hash__ = object.__hash__

    from cornernet.engine.running import stages

    original = stages.read_reduced

    def counted(*arguments, **options):
        nonlocal most
        pixels, size = original(*arguments, **options)
        pixels = pixels.view(Counted)
        alive.add(pixels)
        most = max(most, len(alive))
        return pixels, size

    monkeypatch.setattr(stages, "read_reduced", counted)
    detector = Detector(FunctionBackend(bright_box), max_pixels=4 * SIDE**2, threads=2)
    for found in detector.stream(files, batch_size=2, prefetch=40, keep_images=True):
        del found
    gc.collect()
    # 4 by max_pixels, one a thread, and the windows of two that the caller and the generator hold.
    assert most <= 4 + 2 + 2 * 2
    assert len(alive) == 0


@pytest.mark.parametrize("broken", [False, True])
def test_all_room_is_free_again_at_the_end(files, monkeypatch, broken):
    rooms = []
    original = Room.__init__
    monkeypatch.setattr(Room, "__init__", lambda self, **options: (rooms.append(self), original(self, **options))[0])

    def fail(canvas):
        raise RuntimeError("out of memory")

    detector = Detector(FunctionBackend(fail if broken else bright_box), max_pixels=SIDE**2 * 8)
    for keep in (True, False):
        results = list(detector.stream(files, batch_size=3, keep_images=keep))
        assert len(results) == 60
        assert (rooms[-1]._pixels, rooms[-1]._images) == (0, 0)
