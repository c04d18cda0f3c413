"""Images that are on the device already: the same boxes as from the host, and no visit there."""

from __future__ import annotations

import logging
import types

import numpy as np
import pytest
from emulated_placing import own
from fake_backends import FunctionBackend, bright_box, make_card, picture
from placing_rig import OnDevice, PlacesViews, emulated_kernels, needs_opencv_bits

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.running import stages

pytestmark = needs_opencv_bits

SIZES = [(100, 150), (70, 260), (100, 150), (300, 90), (31, 33)]


@pytest.fixture(scope="module")
def kernels():
    found = emulated_kernels()
    yield found
    own(found, 0, 0)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def seen(canvas):
    """A box that tells every pixel of its canvas from another's."""
    weights = np.arange(canvas.size, dtype=np.uint64).reshape(canvas.shape) % 251 + 1
    mark = int((canvas * weights).sum()) % 100_000
    return [(0, 0, canvas.shape[1], canvas.shape[0], mark / 100_000, 0)]


SETTINGS = {
    "original": {"resize": "original"},
    "fit": {"size": (96, 128)},
    "mirrored": {"resize": "original", "mirror": True},
    "scales": {"resize": "original", "scales": (0.3, 1, 1.7), "mirror": True},
    "official": {"protocol": "official", "scales": (0.4, 1)},
    "rgb arrays": {"size": (96, 128), "channel_order": "rgb"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_boxes_are_those_of_the_same_images_on_the_host(kernels, settings, order):
    card = make_card(channel_order=order, fill=(124, 116, 104), size_multiple=32)
    settings = {"soft_nms": None, "score_threshold": 0.0, "threads": 2, **settings}
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    arrays = [OnDevice(kernels, image) for image in images]
    backend = PlacesViews(kernels, FunctionBackend(seen, card))
    plain = Detector(FunctionBackend(seen, card), **settings).predict(images)
    detector = Detector(backend, **settings)
    for found in (detector.predict(arrays), list(detector.stream(arrays, batch_size=2)), detector.predict(arrays[0])):
        for got, wanted in zip(found, plain):
            assert got.error is None and got.image_size == wanted.image_size
            np.testing.assert_array_equal(got.boxes, wanted.boxes)
            np.testing.assert_array_equal(got.scores, wanted.scores)
    assert all(packed.memory.size == 0 for packed in backend.packed), "nothing was on the host"
    assert all(array.copies == 0 for array in arrays)


def test_strided_and_turned_arrays_are_read_as_they_lie(kernels):
    whole = np.random.default_rng(3).integers(0, 256, (4, 120, 180), dtype=np.uint8)
    views = [whole[:3].transpose(1, 2, 0), whole[:3, ::2, 10:100].transpose(1, 2, 0), noise(90, 80)[10:60, 20:70]]
    backend = PlacesViews(kernels, FunctionBackend(seen))
    found = Detector(backend, soft_nms=None).predict([OnDevice(kernels, view) for view in views])
    plain = Detector(FunctionBackend(seen), soft_nms=None).predict(views)
    assert [each.scores.tolist() for each in found] == [each.scores.tolist() for each in plain]


def test_images_of_host_and_device_share_batches_and_files_come_too(kernels, tmp_path):
    import cv2

    image = picture(100, 150, (20, 30, 60, 70))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    backend = PlacesViews(kernels, FunctionBackend(bright_box))
    mixture = [image, OnDevice(kernels, image), tmp_path / "a.png", OnDevice(kernels, image), image]
    found = Detector(backend, size=(128, 128), mirror=True).predict(mixture, batch_size=4)
    assert all(each.error is None for each in found)
    assert [each.boxes.round().tolist() for each in found] == [found[0].boxes.round().tolist()] * 5
    assert backend.packed[0].memory.size == 1 * image.size  # two views of one image are uploaded once


@pytest.mark.parametrize("settings", [{"size": (128, 256), "mirror": True}, {"resize": "original"}], ids=str)
def test_images_of_the_host_are_placed_on_the_device_on_request(kernels, settings):
    images = [noise(*size, seed) for seed, size in enumerate(SIZES * 2)]
    backend = PlacesViews(kernels, FunctionBackend(seen))
    detector = Detector(backend, soft_nms=None, device_preprocessing=True, **settings)
    plain = Detector(FunctionBackend(seen), soft_nms=None, **settings).predict(images)
    for found in (detector.predict(images), list(detector.stream(iter(images), batch_size=3))):
        assert [each.scores.tolist() for each in found] == [each.scores.tolist() for each in plain]
    assert backend.packed and len(backend.backend.shapes) == len(backend.packed)


def test_what_its_decoder_made_smaller_is_placed_as_the_host_places_it(kernels, tmp_path):
    import cv2

    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), cv2.resize(noise(41, 57), (900, 643)))
    settings = {"soft_nms": None, "size": (128, 128), "decode": "fast"}
    backend = PlacesViews(kernels, FunctionBackend(seen))
    (found,) = Detector(backend, device_preprocessing=True, **settings).predict(path)
    (plain,) = Detector(FunctionBackend(seen), **settings).predict(path)
    assert found.error is None and found.scores.tolist() == plain.scores.tolist()
    assert found.boxes.tolist() == plain.boxes.tolist()
    (packed,) = backend.packed
    assert packed.memory.size < 643 * 900 * 3 / 15, "a quarter of each side"


def test_without_the_request_images_of_the_host_are_placed_on_the_host(kernels):
    backend = PlacesViews(kernels, FunctionBackend(seen))
    Detector(backend).predict([noise(40, 50)] * 3)
    assert backend.packed == [] and backend.backend.shapes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"typestr": "<f2"}, "type <f2; expected (H, W, 3) uint8"),
        ({"shape": (3, 40, 50)}, "Channels first: torch .permute(1, 2, 0)"),
        ({"shape": (40, 50, 4)}, "image[:, :, :3]"),
        ({"shape": (2, 40, 50, 3)}, "expected (H, W, 3)"),
        ({"shape": (0, 50, 3)}, "shape (0, 50, 3)"),
        ({"shape": (5000, 5000, 3)}, "more than max_pixels=10000"),
        ({"mask": "a mask"}, "masked"),
        ({"stream": 0}, "stream 0"),
        ({"data": (0, False)}, "may have been freed"),
        ({"data": (4096, False)}, "host memory, or in memory that was freed; expected device 0"),
        ({"strides": (1 << 40, 3, 1)}, "host memory, or in memory that was freed"),
        ({"strides": (-(1 << 62), 3, 1)}, "host memory, or in memory that was freed"),
        ({"strides": (150, 3)}, "is not valid"),
        ({"shape": None}, "is not valid"),
        ({"data": ()}, "is not valid"),
        ({"version": "three"}, "is not valid"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_array_that_cannot_be_used_is_an_error_of_its_own(kernels, change, words, stream):
    good = picture(40, 50, (5, 6, 30, 20))
    wrong = OnDevice(kernels, good)
    wrong.__cuda_array_interface__ |= change
    detector = Detector(PlacesViews(kernels, FunctionBackend(bright_box)), size=(128, 128), max_pixels=10000)
    images = [OnDevice(kernels, good), wrong, OnDevice(kernels, good)]
    first, error, last = detector.stream(images) if stream else detector.predict(images)
    assert words in error.error
    assert len(first) == len(last) == 1 and first.error is None is last.error


def test_an_array_of_another_device_or_one_that_says_nothing_is_an_error_of_its_own(kernels):
    class Freed:
        __dlpack__ = None

        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("its memory was freed")

    elsewhere = OnDevice(kernels, noise(40, 50), device=1)
    detector = Detector(PlacesViews(kernels, FunctionBackend(bright_box)))
    assert "the memory of device 1; expected device 0" in detector.predict([elsewhere])[0].error
    assert "Freed cannot be used: its memory was freed" in detector.predict([Freed()])[0].error


def test_a_batch_of_arrays_that_is_only_indexed_is_many_images(kernels):
    """PyCUDA's GPUArray has a length and indices, and no iterator of its own."""

    class Batch(OnDevice):
        def __getitem__(self, number):
            return OnDevice(kernels, self.values[number])

    images = np.stack([picture(40, 50, (5, 6, 30, 20)), picture(40, 50, (1, 2, 10, 30))])
    backend = PlacesViews(kernels, FunctionBackend(bright_box))
    found = Detector(backend, soft_nms=None).predict(Batch(kernels, images))
    assert [each.boxes.tolist() for each in found] == [[[5, 6, 30, 20]], [[1, 2, 10, 30]]]
    assert all(packed.memory.size == 0 for packed in backend.packed)


def test_a_backend_without_a_device_gets_a_copy_and_the_cure_is_said_once(kernels, caplog):
    stages._told.clear()
    caplog.set_level(logging.WARNING)
    array = OnDevice(kernels, picture(40, 50, (5, 6, 30, 20)))
    found = Detector(FunctionBackend(bright_box)).predict([array] * 3)
    assert [each.boxes.tolist() for each in found] == [[[5, 6, 30, 20]]] * 3
    assert array.copies == 3
    assert caplog.text.count("copied to the host, because fake does not place them itself") == 1
    assert "cmake" in caplog.text


def test_a_result_that_carries_its_picture_has_it_on_the_host(kernels):
    image = picture(40, 50, (5, 6, 30, 20))
    (found,) = Detector(PlacesViews(kernels, FunctionBackend(bright_box))).predict(
        OnDevice(kernels, image), keep_images=True
    )
    np.testing.assert_array_equal(found.image, image)
    assert found.boxes.tolist() == [[5, 6, 30, 20]]


def test_device_preprocessing_without_a_device_is_refused_with_the_cure(kernels):
    with pytest.raises(BackendError, match=r"fake places no images on its device.*cmake"):
        Detector(FunctionBackend(bright_box), device_preprocessing=True)
    with pytest.raises(TypeError, match="device_preprocessing='yes'"):
        Detector(PlacesViews(kernels, FunctionBackend(bright_box)), device_preprocessing="yes")


def test_a_batch_that_cannot_be_placed_fails_alone(kernels):
    backend = PlacesViews(kernels, FunctionBackend(bright_box))
    images = [OnDevice(kernels, picture(40, 50, (5, 6, 30, 20)))] * 4
    launched = backend._launchers
    backend._launchers = types.SimpleNamespace(
        device_of=launched.device_of,
        place_views=lambda views, *rest, stream: (
            launched.place_views([*views[:-1], type(views[0])()], *rest, stream=stream)
            if len(backend.packed) == 1
            else launched.place_views(views, *rest, stream=stream)
        ),
    )
    found = Detector(backend, size=(128, 128)).predict(images, batch_size=2)
    assert ["could not be placed on the device" in (each.error or "") for each in found] == [True, True, False, False]
