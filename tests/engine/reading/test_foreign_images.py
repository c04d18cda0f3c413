"""PIL images, tensors, open files and what only looks like many images: one image each, right or refused."""

import base64
import io
import struct
import types

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, picture

from cornernet.engine.detector import Detector
from cornernet.engine.reading.images import read_image

BOX = (20, 30, 60, 70)
GOOD = picture(100, 150, BOX)
GOOD[0, 0] = (10, 20, 30)
PNG = cv2.imencode(".png", GOOD)[1].tobytes()


class Tensor:
    """Has what torch's tensors have, and iterates over its first axis as they do."""

    def __init__(self, values):
        self._values = values
        self.ndim, self.shape, self.dtype = values.ndim, values.shape, values.dtype

    def __dlpack__(self):
        raise NotImplementedError

    def detach(self):
        return self

    cpu = detach

    def __array__(self, dtype=None, copy=None):
        return self._values

    def __iter__(self):
        return (Tensor(part) for part in self._values)


@pytest.fixture
def detector():
    return Detector(FunctionBackend(bright_box), max_pixels=100_000)


def found_in(detector, images, count=1):
    results = detector.predict(images)
    assert len(results) == count, len(results)
    return results


@pytest.mark.parametrize("wrap", [lambda image: image, lambda image: [image]], ids=["alone", "in a list"])
@pytest.mark.parametrize(
    "make", [lambda: io.BytesIO(PNG), lambda: Tensor(GOOD), lambda: PNG], ids=["file", "tensor", "bytes"]
)
def test_it_is_one_image_with_its_boxes(detector, make, wrap):
    (found,) = found_in(detector, wrap(make()))
    assert found.error is None and found.boxes.tolist() == [list(BOX)]


def test_an_open_file_of_the_disk_is_one_image(detector, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    with (tmp_path / "a.png").open("rb") as file:
        assert found_in(detector, file)[0].boxes.tolist() == [list(BOX)]
        assert not file.closed
    with (tmp_path / "a.png").open(encoding="latin-1") as file:
        assert 'mode "rb"' in found_in(detector, file)[0].error
    assert "closed file" in found_in(detector, file)[0].error


def test_a_batch_of_tensors_and_an_array_of_paths_are_many(detector, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    for many in (Tensor(np.stack([GOOD, GOOD])), np.array([str(tmp_path / "a.png")] * 2)):
        assert [found.boxes.tolist() for found in found_in(detector, many, 2)] == [[list(BOX)]] * 2


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (Tensor(GOOD.transpose(2, 0, 1)), "Channels first"),
        (Tensor(GOOD.astype(np.float32) / 255), "Floats in"),
        ({"a.png": PNG}, "type dict cannot be used"),
        (types.SimpleNamespace(__dlpack__=None), "expected (H, W, 3) uint8"),
        (io.BytesIO(b""), "zero bytes"),
        (io.BytesIO(bytes(2**26 + 900_000)), "more than 67908864 bytes"),
        (types.SimpleNamespace(read=lambda size: 3), "gives int, not bytes"),
    ],
)
def test_what_cannot_be_used_is_one_error_with_the_cure(detector, images, words):
    assert words in found_in(detector, images)[0].error


def test_torch_tensors_are_such_tensors(detector):
    torch = pytest.importorskip("torch", reason="extra `train` is not installed")
    assert found_in(detector, torch.from_numpy(GOOD))[0].boxes.tolist() == [list(BOX)]
    assert found_in(detector, torch.from_numpy(GOOD).requires_grad_(False)[None].repeat(3, 1, 1, 1), 3)
    assert "Channels first" in found_in(detector, torch.from_numpy(GOOD).permute(2, 0, 1))[0].error


@pytest.mark.parametrize("wrap", [lambda image: image, Tensor], ids=["array", "tensor"])
def test_arrays_may_come_as_rgb(wrap):
    swapped = GOOD[..., ::-1]
    np.testing.assert_array_equal(read_image(wrap(np.ascontiguousarray(swapped)), channel_order="rgb"), GOOD)
    np.testing.assert_array_equal(read_image(wrap(swapped), channel_order="rgb"), GOOD)
    np.testing.assert_array_equal(read_image(PNG, channel_order="rgb"), GOOD)  # a file knows its order
    with pytest.raises(ValueError, match="channel_order='grb'"):
        read_image(GOOD, channel_order="grb")


@pytest.mark.parametrize("images", [GOOD, [GOOD] * 5], ids=["one", "many"])
def test_a_detector_of_rgb_arrays_shows_the_network_what_bgr_arrays_show(images):
    def colour(canvas):
        rows, columns = np.nonzero(canvas.sum(axis=2))
        return [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, canvas[..., 0].max() / 255, 0)]

    blue = np.zeros((127, 127, 3), np.uint8)
    blue[10:20, 10:20] = (200, 0, 100)
    blues = [blue] * 5 if isinstance(images, list) else blue
    backend = FunctionBackend(colour)
    plain = Detector(backend, soft_nms=None).predict(blues)
    swapped = [image[..., ::-1] for image in blues] if isinstance(images, list) else blue[..., ::-1]
    for found, expected in zip(
        Detector(backend, soft_nms=None, channel_order="rgb").predict(swapped), plain, strict=True
    ):
        assert found.scores.tolist() == expected.scores.tolist() == [np.float32(200 / 255)]


def exif_jpeg(image):
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "I;16", "CMYK", "exif"])
def test_a_pil_image_is_read_as_its_file(mode, detector):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed (it comes with extra `charts`)")
    if mode == "exif":
        data = exif_jpeg(GOOD)
        np.testing.assert_allclose(read_image(image_module.open(io.BytesIO(data))), read_image(data), atol=3)
        return
    image = image_module.fromarray(np.ascontiguousarray(GOOD[..., ::-1]))
    image = (
        image.convert("L").convert("I").point(lambda value: value * 257).convert("I;16")
        if mode == "I;16"
        else image.convert(mode)
    )
    assert found_in(detector, image)[0].boxes.tolist() == [list(BOX)]
    if mode in ("RGB", "RGBA", "L", "I;16"):
        data = io.BytesIO()
        image.save(data, "PNG")
        np.testing.assert_array_equal(read_image(image), read_image(data.getvalue()))


def test_a_pil_image_without_a_range_or_with_too_many_pixels_is_refused(detector):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed (it comes with extra `charts`)")
    assert "mode 'F'" in found_in(detector, image_module.new("F", (20, 20)))[0].error
    assert "max_pixels" in found_in(detector, image_module.new("RGB", (400, 400)))[0].error
    torn = image_module.open(
        io.BytesIO(
            cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))[1].tobytes()[:9000]
        )
    )
    assert "cannot be decoded" in found_in(detector, torn)[0].error


def test_base64_is_named_and_not_echoed(detector):
    for text in (base64.b64encode(PNG).decode(), "data:image/png;base64," + base64.b64encode(PNG).decode()):
        error = found_in(detector, text)[0].error
        assert "base64.b64decode(text)" in error and len(error) < 200
