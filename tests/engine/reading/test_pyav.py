"""PyAV gives the frames that OpenCV gives: the same in the same order, turned, skipped, and cut short."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_backends import picture

from cornernet.engine.reading.video import Video

HEIGHT, WIDTH, RATE = 48, 64, 12.5
CODES = {".mp4": "mp4v", ".avi": "MJPG"}
LARGEST_DIFFERENCE = 4
"""Of a channel [1/255]: two builds of the same decoder may round colours differently."""

pytest.importorskip("av", reason="needs PyAV: pip install '.[video]'")


def write_clip(path: Path, count=12) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[path.suffix]), RATE, (WIDTH, HEIGHT))
    for number in range(count):
        writer.write(picture(HEIGHT, WIDTH, (5 + 2 * number, 8, 25 + 2 * number, 30)))
    writer.release()
    return path


def turned(path: Path) -> Path:
    """An .mp4 that says that it is to be shown a quarter turned: nine numbers of its track's header."""
    content = bytearray(path.read_bytes())
    plain = b"".join(number.to_bytes(4, "big") for number in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30)
    at = content.index(plain, content.index(b"tkhd"))
    content[at : at + len(plain)] = b"".join(number.to_bytes(4, "big") for number in quarter)
    path.write_bytes(content)
    return path


def assert_same_video(path, **options):
    ours, theirs = (Video(path, reader=reader, **options) for reader in ("pyav", "opencv"))
    assert ours.rate == theirs.rate
    count = 0
    for one, other in zip(ours, theirs, strict=True):
        assert (one.number, one.path, one.error) == (other.number, other.path, other.error)
        assert one.pixels.shape == other.pixels.shape and one.pixels.dtype == np.uint8
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= LARGEST_DIFFERENCE
        count += 1
    return count


@pytest.mark.parametrize("suffix", CODES)
def test_pyav_gives_the_frames_of_opencv_in_their_order_at_their_rate(tmp_path, suffix):
    path = write_clip(tmp_path / f"clip{suffix}")
    assert assert_same_video(path) == 12
    assert assert_same_video(path, every=5) == 3
    first, second = (next(iter(Video(path, reader="pyav", every=every))).pixels for every in (1, 3))
    assert np.array_equal(first, second) and first.flags.writeable


def test_pyav_turns_frames_as_their_file_says(tmp_path):
    path = turned(write_clip(tmp_path / "clip.mp4"))
    assert next(iter(Video(path, reader="pyav"))).pixels.shape == (WIDTH, HEIGHT, 3)
    assert assert_same_video(path) == 12


def test_what_is_no_video_ends_with_the_sentence_of_opencv(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for name, words in (("text.mp4", "not a video that can be read"), ("none.mp4", "no such file")):
        (frame,) = Video(tmp_path / name, reader="pyav")
        assert frame.error.endswith(f"{name}: {words}")
    whole = write_clip(tmp_path / "whole.avi", 40)
    (tmp_path / "torn.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    *frames, last = Video(tmp_path / "torn.avi", reader="pyav")
    assert 0 < len(frames) < 40 and "truncated or damaged" in last.error


def test_a_damaged_packet_costs_no_more_than_its_frames(tmp_path):
    path = write_clip(tmp_path / "clip.avi")
    content = bytearray(path.read_bytes())
    at = content.index(b"00dc", len(content) // 2) + 8
    content[at : at + 200] = bytes(200)
    path.write_bytes(content)
    read = [frame for frame in Video(path, reader="pyav") if frame.error is None]
    assert 10 <= len(read) <= 12


def test_a_reader_that_is_unknown_or_absent_is_said_when_the_video_is_made():
    with pytest.raises(ValueError, match=r"reader='ffmpeg'; expected one of \"opencv\", \"pyav\""):
        Video("clip.mp4", reader="ffmpeg")
    code = """
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "av" else find_spec(name, *more)
from cornernet import BackendError, Video
Video(0, reader="pyav")  # a camera is OpenCV's
try:
    Video("clip.mp4", reader="pyav")
except BackendError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    assert said == (
        "reading a video with PyAV needs the package 'av', which is not installed: pip install '.[video]' in the "
        "checkout\n"
    )
