"""Clips that OpenCV itself made, and live sources that pretend: skipping, the newest frame, breaking."""

import threading

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, picture

from cornernet.engine.detector import Detector
from cornernet.engine.reading.images import expand_sources
from cornernet.engine.reading.video import Video, is_video

HEIGHT, WIDTH, RATE = 48, 64, 12.5


def box_of(number):
    return 10 + number, 10, 30 + number, 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for number in range(10):
        writer.write(picture(HEIGHT, WIDTH, box_of(number)))
    writer.release()
    return path


def test_a_clip_gives_its_frames_with_their_numbers(clip):
    frames = list(Video(clip))
    assert [frame.number for frame in frames] == list(range(10))
    assert {frame.pixels.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert Video(clip).rate == RATE and Video(clip, every=5).rate == RATE / 5
    assert [frame.number for frame in Video(clip, every=4)] == [0, 4, 8]
    with pytest.raises(ValueError, match="every=0"):
        Video(clip, every=0)


@pytest.mark.parametrize("method", ["predict", "stream"])
def test_a_detector_takes_a_clip_among_pictures(clip, method):
    detector = Detector(FunctionBackend(bright_box))
    found = list(getattr(detector, method)([picture(40, 40), str(clip), picture(40, 40)]))
    assert [one.frame for one in found] == [None, *range(10), None]
    assert [one.index for one in found] == list(range(12))
    for one in found[1:-1]:
        assert one.path == str(clip)
        np.testing.assert_allclose(one.boxes, [box_of(one.frame)], atol=2)
    assert len(list(getattr(detector, method)(clip))) == 10
    assert len(list(getattr(detector, method)(Video(clip, every=3)))) == 4


def test_a_folder_gives_its_pictures_and_the_frames_of_its_videos_in_the_order_of_their_names(clip, tmp_path):
    (tmp_path / "b.avi").write_bytes(clip.read_bytes())
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), picture(40, 40))
    found = Detector(FunctionBackend(bright_box)).predict(tmp_path)
    assert [(one.path[-5:], one.frame) for one in found] == [
        ("a.png", None), *(("b.avi", number) for number in range(10)), ("c.png", None)
    ]  # fmt: skip


def test_what_is_no_video_is_one_result_with_a_sentence(tmp_path, clip):
    (tmp_path / "text.mp4").write_text("no video")
    noise = tmp_path / "noise.avi"
    writer = cv2.VideoWriter(str(noise), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for frame in np.random.default_rng(0).integers(0, 255, (10, HEIGHT, WIDTH, 3), np.uint8):
        writer.write(frame)
    writer.release()
    (tmp_path / "torn.avi").write_bytes(noise.read_bytes()[: noise.stat().st_size // 2])
    detector = Detector(FunctionBackend(bright_box))
    for name, words in (("text.mp4", "not a video"), ("none.mp4", "no such file")):
        (found,) = detector.predict([tmp_path / name])
        assert words in found.error and name in found.error
    *frames, last = detector.predict([tmp_path / "torn.avi"])
    assert 0 < len(frames) < 10 and all(frame.error is None for frame in frames)
    assert "truncated or damaged" in last.error


def test_a_numbered_sequence_is_read_in_the_order_of_its_numbers(tmp_path):
    for name in ("a_9.png", "a_10.png", "a_1.png", "b_2.png", "a_x.png"):
        cv2.imwrite(str(tmp_path / name), picture(4, 4))
    assert [path.name for path in expand_sources(str(tmp_path / "a_%d.png"))] == ["a_1.png", "a_9.png", "a_10.png"]
    assert [path.name for path in expand_sources(str(tmp_path / "a_%02d.png"))] == ["a_10.png"]


class Capture:
    """A camera: the frames of one connection, then nothing."""

    def __init__(self, frames):
        self.frames = list(frames)
        self.released = False

    def isOpened(self):
        return bool(self.frames)

    def read(self):
        if not self.frames:
            return False, None
        return True, picture(8, 8, value=self.frames.pop(0))

    def release(self):
        self.released = True


def test_a_stream_that_breaks_is_opened_again_and_ends_with_a_sentence():
    connections = [Capture("ab"), Capture(""), Capture("c"), Capture(""), Capture(""), Capture("")]
    opened = []

    def open_capture(source):
        opened.append(connections.pop(0) if connections else Capture(""))
        return opened[-1]

    video = Video("rtsp://camera", newest=False, tries=2, pause_seconds=0.001, open_capture=open_capture)
    *frames, last = video
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert last.error == "rtsp://camera: broke after 3 frames; opened again 2 times without success"
    assert all(capture.released for capture in opened)


def test_the_newest_frame_is_given_and_the_thread_ends_with_the_iterator():
    read = threading.Semaphore(0)

    class Endless(Capture):
        count = 0

        def isOpened(self):
            return True

        def read(self):
            self.count += 1
            if self.count % 50 == 0:
                read.release()
            threading.Event().wait(0.0005)
            return True, picture(8, 8)

    frames = iter(Video(0, open_capture=lambda source: Endless("")))
    first = next(frames)
    for _ in range(3):
        assert read.acquire(timeout=30)
    second = next(frames)
    assert second.number > first.number + 50  # those in between are gone
    frames.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "cornernet-camera"]


def test_the_last_picture_of_a_live_source_comes_before_its_sentence_and_no_camera_is_one_sentence():
    once = [Capture("a")]
    video = Video("rtsp://x", tries=0, open_capture=lambda source: once.pop() if once else Capture(""))
    assert [frame.error is None for frame in video] == [True, False]
    (only,) = Video(7, open_capture=lambda source: Capture(""))
    assert only.error == "camera 7: gives no picture"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.mp4", True), ("A.MOV", True), ("rtsp://10.0.0.1/x", True), ("a.jpg", False), (3, False), (b"a.mp4", False)],
)
def test_a_video_is_known_by_its_name(name, expected):
    assert is_video(name) is expected
