"""Headers: sizes without decoding, and lies that decoders would believe."""

import struct
import zlib

import cv2
import hostile_images as hostile
import numpy as np
import pytest

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.formats import read_header
from cornernet.engine.reading.images import read_image

FORMATS = [".jpg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".ppm"]
PICTURE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
JPEG = hostile.encode(PICTURE, ".jpg")


def size_of(data):
    header = read_header(data)
    return None if header is None else (header.height, header.width)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_header_tells_the_size_without_decoding(suffix):
    assert size_of(hostile.encode(PICTURE, suffix)) == (37, 53)


def test_headers_of_variants_are_understood():
    assert size_of(hostile.encode(PICTURE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)) == (37, 53)  # lossless
    assert size_of(hostile.encode(PICTURE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (37, 53)
    assert size_of(b"P5\n# a comment\n12 7\n255\n" + bytes(84)) == (7, 12)
    assert size_of(b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + b"\x34\0\0\x24\0\0") == (37, 53)
    big_endian = b"MM\0*" + struct.pack(">IH", 8, 3) + struct.pack(">HHIHH", 256, 3, 1, 53, 0)
    big_endian += struct.pack(">HHII", 257, 4, 1, 37) + struct.pack(">HHII", 273, 4, 1, 8)
    assert size_of(big_endian) == (37, 53)
    core = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 53, 37, 1, 24)
    assert size_of(core) == (37, 53)


@pytest.mark.parametrize(
    "data", [b"x", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\xff", b"P6 ", b"BM", b"GIF89a"]
)
def test_a_broken_header_is_no_size(data):
    assert size_of(data) is None


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"aaAa", b"acTL", b"IEND"])
def test_a_png_chunk_longer_than_the_file_is_refused(kind):
    lie = hostile.png(10, 10)[:33] + b"\xff\xff\xff\xf0" + kind + b"IEND\xaeB`\x82"
    with pytest.raises(ImageError, match=r"truncated PNG: a chunk .* of 4294967280 bytes at 33 in a file of 49 bytes"):
        read_image(lie)


def test_texts_profiles_and_frames_in_a_png_do_not_reach_the_decoder(monkeypatch):
    bomb = hostile.png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))
    frames = hostile.png_chunk(b"acTL", struct.pack(">II", 2, 0))
    exif = hostile.png_chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0))
    file = hostile.encode(PICTURE, ".png")
    seen = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: (seen.append(data.tobytes()), decode(data, flags))[1])
    found = read_image(file[:33] + bomb + frames + exif + file[33:] + b"behind the end")
    assert seen == [file[:33] + exif + file[33:]]
    np.testing.assert_array_equal(found, np.rot90(PICTURE, -1))


def test_the_first_picture_of_an_animated_png_is_read():
    animation = cv2.Animation()
    animation.frames = [np.dstack((picture, np.full((37, 53), 255, np.uint8))) for picture in (PICTURE, 255 - PICTURE)]
    animation.durations = [10, 10]
    found = read_image(cv2.imencodeanimation(".png", animation)[1].tobytes())
    np.testing.assert_array_equal(found, PICTURE)


def test_a_tiff_with_a_tag_twice_is_refused():
    with pytest.raises(ImageError, match="not an image that can be read"):
        read_image(hostile.tiff_with_two_sizes(100), max_pixels=1000)


def test_tiff_strips_may_not_share_their_bytes():
    strip = zlib.compress(bytes(1000))
    assert size_of(hostile.tiff_of_strips(10, 100, strip, strips=1, compression=8)) == (10, 100)
    assert size_of(hostile.tiff_of_strips(1000, 100, strip, strips=100, compression=8)) is None


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_pnm_comment_ends_with_either_end_of_line(end):
    data = b"P5\n#" + end + b"30 20\n#\n1 1\n255\n" + bytes(600)
    assert size_of(data) == (20, 30)


def test_markers_without_length_and_fill_in_a_jpeg_hide_nothing():
    """libjpeg skips them; who reads a length there takes the size from somewhere else."""
    for hiding in (b"\xff\x01", b"\xff\xd0", b"\xff\xff\xff\x01", b"\0\0"):
        assert size_of(JPEG[:20] + hiding + JPEG[20:]) == (37, 53)  # behind the JFIF segment


@pytest.mark.parametrize(
    "data",
    [
        hostile.bmp(8000, 8000),
        hostile.bmp(-8000, 8000, 1),
        b"P6 8000 8000 255\n",
        b"P1 8000 8000\n",
        b"P2 8000 8000 255\n1 2 3",
        b"P4 8000 8000\n",
    ],
    ids=["BMP", "BMP upside down", "P6", "P1", "P2", "P4"],
)
def test_rows_that_are_not_there_are_not_allocated(data, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="truncated"):
        read_image(data)


@pytest.mark.parametrize("canvas", [(10, 10), (60, 60)])
def test_a_webp_picture_of_another_size_than_its_canvas_is_refused(canvas):
    with pytest.raises(ImageError, match=r"WebP|decoded|in the data"):
        read_image(hostile.webp_on_canvas(canvas, PICTURE))


def test_a_picture_of_another_size_than_its_header_is_refused(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ImageError, match="53x37 in the header, 10x10 in the data"):
        read_image(JPEG)
