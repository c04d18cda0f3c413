"""Whatever is handed in, the rest of the batch is returned, in order; models that cannot be used say why."""

import cv2
import hostile_images
import numpy as np
import onnx
import onnx.helper
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, FunctionBackend, bright_box, make_card, picture, write_onnx

from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ImageError, ModelError
from cornernet.engine.model_card import METADATA_KEY
from cornernet.engine.running import stages

BOX = (20, 30, 60, 70)
GOOD = picture(100, 150, BOX)
JPEG = cv2.imencode(".jpg", GOOD)[1].tobytes()
NAN = np.full((10, 10, 3), np.nan, np.float32)

BAD = {
    "missing file": ("no/such/file.jpg", "no such file"),
    "zero bytes": (b"", "zero bytes"),
    "text": (b"this is not an image at all", "not an image"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated JPEG"),
    "grey array": (GOOD[:, :, 0], "COLOR_GRAY2BGR"),
    "grey array with an axis": (GOOD[:, :, :1], "COLOR_GRAY2BGR"),
    "RGBA array": (np.zeros((10, 10, 4), np.uint8), "drops the alpha"),
    "channels first": (np.zeros((3, 10, 10), np.uint8), "transpose"),
    "NaN array": (NAN, "NaN or infinite"),
    "float array": (np.zeros((10, 10, 3), np.float64), r"np.rint\(image \* 255\)"),
    "16-bit array": (np.zeros((10, 10, 3), np.uint16), ">> 8"),
    "signed array": (np.zeros((10, 10, 3), np.int64), "astype"),
    "empty array": (np.zeros((0, 10, 3), np.uint8), "It is empty"),
    "one number": (np.uint8(3)[...], "expected"),
    "glob without a match": ("no/such/*.jpg", "no file matches"),
    "a number": (3, "type int cannot be used"),
    "nothing": (None, "type NoneType cannot be used"),
    "too wide for the model": (np.zeros((1, 20000, 3), np.uint8), 'resize="fit"'),
    "too many pixels": (np.zeros((300, 400, 3), np.uint8), "more than max_pixels=100000"),
    "a name of 5000 letters": ("a" * 5000 + ".jpg", "cannot be read"),
    "a pattern of 5000 letters": ("a" * 5000 + "*.jpg", "cannot be read"),
    "no name": ("", "an empty path"),
    "a name that is not UTF-8": ("no/caf\udce9.jpg", r"caf\\xe9.jpg: no such file"),
    "a PNG chunk of 4 GB": (hostile_images.png(9, 9)[:33] + b"\xff\xff\xff\xf0tEXtIEND\xaeB`\x82", "truncated PNG"),
    "a name with a zero byte": ("a\0b.jpg", "cannot be read"),
}


@pytest.fixture
def detector():
    return Detector(FunctionBackend(bright_box), max_pixels=100_000)


def assert_found(found):
    assert found.error is None
    np.testing.assert_allclose(found.boxes, [BOX])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_between_good_ones_gives_an_error_in_its_own_result(name, detector):
    bad, message = BAD[name]
    results = detector.predict([GOOD, bad, GOOD], batch_size=2)
    assert [found.index for found in results] == [0, 1, 2]
    assert_found(results[0])
    assert_found(results[2])
    assert len(results[1]) == 0
    with pytest.raises(ValueError, match=message):
        raise ValueError(results[1].error)


def test_all_of_them_at_once(detector):
    images = [image for bad, _ in BAD.values() for image in (bad, GOOD)]
    results = detector.predict(images)
    assert len(results) == len(images)
    for place, found in enumerate(results):
        assert (found.error is None) == (place % 2 == 1)


def test_a_directory_without_images_says_so(detector, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    results = detector.predict([tmp_path, GOOD])
    assert "no images or videos in this directory" in results[0].error and results[0].path == str(tmp_path)
    assert_found(results[1])
    assert "--recursive" not in results[0].error
    (tmp_path / "deep").mkdir()
    assert f"folders in it: --recursive, in Python the glob {tmp_path}/**/*.jpg" in detector.predict(tmp_path)[0].error


def test_a_link_that_leads_nowhere_is_an_error_and_no_picture_less(detector, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), GOOD)
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.mp4").symlink_to(tmp_path / "c.mp4")
    good, *lost = detector.predict(tmp_path)
    assert_found(good)
    assert [one.error for one in lost] == [f"{tmp_path}/{name}: no such file" for name in ("b.png", "c.mp4")]


@pytest.mark.parametrize("method", ["predict", "stream"])
def test_what_nobody_foresaw_while_reading_costs_its_own_image_alone(detector, monkeypatch, caplog, method):
    def read(source, *rest, **named):
        if isinstance(source, bytes):
            raise ZeroDivisionError("a defect of ours")
        return original(source, *rest, **named)

    original = stages.read_reduced
    monkeypatch.setattr(stages, "read_reduced", read)
    good, bad, other = getattr(detector, method)([GOOD, b"strange", GOOD])
    assert bad.error == "cannot be read: a defect of ours" and "ZeroDivisionError" in caplog.text
    assert_found(good)
    assert_found(other)


def test_an_unreadable_file_type_says_so(detector):
    assert "not a regular file" in detector.predict("/dev/null")[0].error


@pytest.mark.parametrize("image", [picture(1, 1), picture(1, 300), picture(300, 1)])
def test_images_of_one_pixel_in_height_or_width_run(detector, image):
    found = detector.predict(image)[0]
    assert found.error is None and found.image_size == image.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("kind", ["grey", "bgra", "16-bit"])
def test_unusual_files_are_converted(detector, suffix, kind):
    image = {"grey": GOOD[:, :, 0], "bgra": np.dstack((GOOD, GOOD[:, :, 0])), "16-bit": GOOD.astype(np.uint16) * 257}
    assert_found(detector.predict(cv2.imencode(suffix, image[kind])[1].tobytes())[0])


def test_fit_takes_a_strip_of_20000_pixels():
    detector = Detector(FunctionBackend(lambda canvas: []), resize="fit", size=(128, 256))
    results = detector.predict([picture(1, 20000), picture(20000, 1), picture(1, 1)])
    assert [found.error for found in results] == [None, None, None]


@pytest.mark.parametrize(
    "failure",
    [
        BackendError("out of memory"),
        RuntimeError("CUDA error"),
        MemoryError(),
        ImageError("fits no profile"),
        TypeError("of the binding"),
        OSError("the device is gone"),
    ],
)
def test_a_failing_batch_costs_only_its_own_images(failure):
    class Failing(FunctionBackend):
        def run(self, canvases):
            if canvases.shape[1] > 128:
                raise failure
            return super().run(canvases)

    images = [GOOD, picture(200, 200), GOOD, picture(200, 200)]
    results = Detector(Failing(bright_box)).predict(images)
    assert [found.error is None for found in results] == [True, False, True, False]
    assert results[1].error == f"fake failed: {failure or 'MemoryError'}"
    assert_found(results[2])


def test_an_image_of_which_one_view_failed_gives_no_half_result():
    class FailsAtTheLargeScale(FunctionBackend):
        def run(self, canvases):
            if canvases.shape[1] > 128:
                raise BackendError("out of memory")
            return super().run(canvases)

    found = Detector(FailsAtTheLargeScale(bright_box), scales=(1.0, 2.0)).predict(GOOD)[0]
    assert found.error == "fake failed: out of memory" and len(found) == 0


@pytest.mark.parametrize("suffix", [".onnx", ".engine", ".plan"])
def test_a_missing_model_file_is_named(tmp_path, suffix):
    with pytest.raises(ModelError, match="no such file"):
        Detector(tmp_path / f"model{suffix}")


def test_a_file_that_is_not_an_engine_is_refused(tmp_path):
    path = tmp_path / "model.engine"
    path.write_bytes(b"not an engine")
    with pytest.raises((ModelError, BackendError), match=r"model\.engine|TensorRT"):
        Detector(path)


def test_an_empty_file_of_weights_is_refused(tmp_path):
    pytest.importorskip("torch", reason="weights are read with it: pip install '.[train]'")
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        open_backend(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"expected a \.onnx file or a TensorRT"):
        open_backend(path)


@pytest.mark.parametrize("content", [b"", b"not an onnx file", bytes(1000)])
def test_a_file_that_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_backend(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_onnx_file_is_refused(tmp_path, share):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_backend(path)


def test_an_onnx_file_without_our_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match="without a model card"):
        open_backend(write_onnx(tmp_path / "model.onnx", card=None))


def test_a_card_that_is_not_valid_is_refused(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: '{"name": 3}'})
    onnx.save(model, path)
    with pytest.raises(ModelError, match="model card is not valid"):
        open_backend(path)


def test_a_file_of_raw_maps_is_refused_with_the_option_that_gives_boxes(tmp_path):
    with pytest.raises(ModelError, match="--outputs detections"):
        open_backend(write_onnx(tmp_path / "model.onnx", make_card(outputs="heads")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("uint8[N,H,W,3] images", "float[N,H,W,3] images", r"expected 'images', uint8"),
        ("images", "pictures", r"expected 'images', uint8"),
        ("counts", "number", "no output 'counts'"),
        ("counts = Cast<to=6>(found)", "counts = Cast<to=7>(found)", r"'counts' is int64"),
    ],
)
def test_other_inputs_or_outputs_than_the_contract_are_refused(tmp_path, old, new, message):
    graph = BRIGHT_BOX_GRAPH.replace(old, new)
    if "to=7" in new:
        graph = graph.replace("int32[N] counts", "int64[N] counts")
    with pytest.raises(ModelError, match=message):
        open_backend(write_onnx(tmp_path / "model.onnx", make_card(), graph))
