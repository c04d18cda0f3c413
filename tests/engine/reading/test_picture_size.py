"""The size from the head of a file is that of the picture as it is read."""

import cv2
import numpy as np
import pytest
from hostile_images import encode

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import read_image
from cornernet.engine.reading.picture_size import picture_size


def exif(orientation: int, order: str) -> bytes:
    """An APP1 segment that says how a JPEG is to be turned, in either byte order."""
    big = order == "big"
    number = lambda value, size: value.to_bytes(size, order)  # noqa: E731
    entry = number(0x112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + b"\0\0"
    tiff = (b"MM" if big else b"II") + number(42, 2) + number(8, 4) + number(1, 2) + entry + number(0, 4)
    return b"\xff\xe1" + (len(tiff) + 8).to_bytes(2) + b"Exif\0\0" + tiff


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"])
@pytest.mark.parametrize("shape", [(1, 1), (37, 91), (300, 17)])
def test_it_is_the_size_that_reading_gives(suffix, shape, tmp_path):
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(encode(np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8), suffix))
    assert picture_size(path) == read_image(path).shape[:2] == shape


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_it(orientation, order, tmp_path):
    data = encode(np.zeros((40, 90, 3), np.uint8), ".jpg")
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:2] + exif(orientation, order) + data[2:])
    assert picture_size(path) == read_image(path).shape[:2] == ((90, 40) if orientation > 4 else (40, 90))


def test_a_head_longer_than_what_is_read_at_first_is_read_in_full(tmp_path):
    data = encode(np.zeros((40, 90, 3), np.uint8), ".jpg")
    comment = b"\xff\xfe" + (60_000).to_bytes(2) + b"x" * 59_998
    (tmp_path / "a.jpg").write_bytes(data[:2] + 2 * comment + data[2:])
    assert picture_size(tmp_path / "a.jpg") == (40, 90)


def test_only_the_head_is_read(tmp_path):
    """A picture that was cut off has a size still; that it cannot be used is found where it is decoded."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes()[:70_000])
    assert picture_size(tmp_path / "a.png") == (300, 300)
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(content, tmp_path):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.jpg"):
        picture_size(path)
