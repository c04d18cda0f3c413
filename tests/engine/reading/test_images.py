"""Reading images: formats, conversions, headers."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from cornernet.engine.errors import ImageError
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import decode_image, expand_sources, read_image

FORMATS = [".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"]


def noise(height=37, width=53, channels=3, dtype=np.uint8):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def encode(image, suffix, *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
def test_lossless_formats_come_back_exactly(suffix, tmp_path):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(noise(), suffix))
    np.testing.assert_array_equal(read_image(path), noise())
    np.testing.assert_array_equal(read_image(path.read_bytes()), noise())
    np.testing.assert_array_equal(read_image(str(path)), noise())


def test_grey_files_become_three_equal_channels():
    grey = noise(channels=1)
    np.testing.assert_array_equal(read_image(encode(grey, ".png")), np.repeat(grey[..., None], 3, axis=2))


def test_transparency_is_dropped():
    image = noise(channels=4)
    np.testing.assert_array_equal(read_image(encode(image, ".png")), image[..., :3])


def test_sixteen_bits_become_eight():
    image = noise(dtype=np.uint16)
    found = read_image(encode(image, ".png"))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, image / 257, atol=1)


def test_exif_orientation_is_applied():
    image = noise(40, 60)
    jpeg = encode(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert read_image(turned).shape == (60, 40, 3)


def test_arrays_pass_through_untouched():
    image = noise()
    assert read_image(image) is image


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_file_is_an_error_in_every_format(suffix, share):
    data = encode(noise(200, 200), suffix)
    with pytest.raises(ImageError):
        read_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_without_its_last_byte_is_truncated(progressive):
    data = encode(noise(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(data[:-1])


def test_the_end_marker_of_an_embedded_thumbnail_does_not_count():
    jpeg = encode(noise(200, 200), ".jpg")
    thumbnail = encode(noise(8, 8), ".jpg")
    whole = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]
    assert read_image(whole).shape == (200, 200, 3)
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(whole[: len(whole) // 2])


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm():
    assert read_image(encode(noise(), ".jpg") + bytes(100)).shape == (37, 53, 3)


def png_bomb(side):
    """A PNG of side x side pixels in a few bytes, which would take 3 * side^2 bytes decoded."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="60000x60000 is 3600000000 pixels, more than max_pixels=67108864"):
        read_image(png_bomb(60000))
    with pytest.raises(ImageError, match="more than max_pixels=100"):
        read_image(encode(noise(), ".jpg"), max_pixels=100)


def test_a_file_of_absurd_length_is_not_even_read(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageError, match="more than any picture"):
        read_image(path)


def test_directories_and_globs_become_sorted_files(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.jpeg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    names = [path.name for path in expand_sources(tmp_path)]
    assert names == ["a.jpg", "b.PNG", "c.jpeg"]
    assert [path.name for path in expand_sources(str(tmp_path / "*.jp*g"))] == ["a.jpg", "c.jpeg"]
    assert [path.name for path in expand_sources(str(tmp_path / "**" / "a.*"))] == ["a.jpg"]


@pytest.mark.parametrize("depth", [np.float32, np.float64, np.int32])
def test_a_tiff_of_measurements_is_no_picture_in_any_opencv(tmp_path, depth):
    assert cv2.imwrite(str(tmp_path / "depth.tiff"), np.zeros((8, 8), depth))
    with pytest.raises(
        ImageError, match=r"depth.tiff: a TIFF of (32|64) bits a sample; expected grey levels of 8 or 16"
    ):
        read_image(tmp_path / "depth.tiff")


def test_a_picture_that_opencv_cannot_read_is_not_called_truncated_only(monkeypatch):
    data = encode(noise(), ".png")
    monkeypatch.setattr(cv2, "imdecode", lambda content, how: None)
    with pytest.raises(ImageError, match="or of a kind OpenCV cannot read"):
        read_image(data)


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    path = tmp_path / "shot[1].png"
    path.write_bytes(encode(noise(), ".png"))
    assert list(expand_sources(str(path))) == [str(path)]
    assert read_image(path).shape == (37, 53, 3)


def test_a_mixture_keeps_its_order_and_is_read_lazily(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")

    def endless():
        yield b"bytes"
        yield tmp_path
        yield noise()
        raise AssertionError("asked for too much")

    sources = expand_sources(endless())
    assert next(sources) == b"bytes"
    assert next(sources) == tmp_path / "x.png"
    assert next(sources).shape == (37, 53, 3)


def test_a_stack_of_arrays_is_that_many_images():
    assert [image.shape for image in expand_sources(np.zeros((4, 5, 6, 3), np.uint8))] == [(5, 6, 3)] * 4


def test_decoding_names_where_the_bytes_came_from():
    with pytest.raises(ImageError, match=r"^camera 3: not an image"):
        decode_image(b"nothing", "camera 3")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"[\xff]*.png", b"a\nb.png", "写真 é.png".encode()])
def test_names_of_any_bytes_are_found_and_read(name, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118  (a name that is not text)
    try:
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(encode(noise(), ".png"))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    for source in (os.fsdecode(path), Path(os.fsdecode(path)), tmp_path, str(tmp_path / "*.png")):
        (found,) = expand_sources(source)
        np.testing.assert_array_equal(read_image(found), noise())


@pytest.mark.parametrize("name", ["caf\udce9.jpg", "a\nb.jpg", "\ud800", "\udcff*.jpg", "\udcff" + "a" * 300])
def test_a_message_can_be_printed_whatever_the_name(name):
    (source,) = expand_sources(name)
    with pytest.raises(ImageError) as raised:
        read_image(source)
    assert len(str(raised.value).encode().splitlines()) == 1
    assert raised.value.args[0].startswith(printable(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "an empty path"),
        ("a" * 256, "cannot be read: File name too long"),
        (Path("a" * 256), "cannot be read: File name too long"),
        ("a\0b.jpg", r"a\\x00b.jpg: cannot be read"),
        ("a\0*.jpg", r"a\\x00\*.jpg: "),
    ],
)
def test_a_name_that_no_file_can_have_is_an_image_error(name, message):
    (source,) = expand_sources(name)
    with pytest.raises(ImageError, match=message):
        read_image(source)
