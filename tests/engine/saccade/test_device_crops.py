"""Views and crops of a CornerNet-Saccade cut where the image lies: on a device, which is the emulation's here."""

import types
from dataclasses import replace

import numpy as np
import pytest
from emulated_placing import own
from hypothesis import given, settings
from hypothesis import strategies as st
from placing_rig import OnDevice, PlacesViews, emulated_kernels
from planted_saccade import AT_THE_EDGE, LARGE, TINY, SceneBackend, saccade_card, same, scene

from cornernet.engine.detector import Detector
from cornernet.engine.model_card import Saccade
from cornernet.engine.protocol import DEFAULT, OFFICIAL
from cornernet.engine.reading.packing import pack, packed_bytes
from cornernet.engine.saccade.cuts import cut, place_cut
from cornernet.engine.saccade.two_looks import TwoLooks

SIDE, CELL = 31, 4
SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))
PLACES, SCALES = st.tuples(st.floats(-60, 150), st.floats(-60, 150)), st.floats(0.05, 40)

SMOOTH = replace(DEFAULT, saccade=replace(DEFAULT.saccade, antialias=True))

OFF = 2e-3
"""Grey levels between OpenCV's interpolation of floats, which is another on every processor, and the kernel's."""


@pytest.fixture(scope="module")
def kernels():
    found = emulated_kernels()
    yield found
    own(found, 0, 0)


def cut_on_device(kernels, views, plan, dtype):
    about = dict(card=plan.card, name="", run=None, close=None, takes_float=dtype == np.float32)
    memory = np.empty(packed_bytes(views, plan), np.uint8)
    return PlacesViews(kernels, types.SimpleNamespace(**about))._place(pack(views, memory, plan, dtype=np.dtype(dtype)))


@settings(max_examples=150, deadline=None)
@given(SIZES, st.lists(st.tuples(PLACES, SCALES), min_size=1, max_size=4), st.sampled_from(["bgr", "rgb"]))
@pytest.mark.parametrize("protocol", [DEFAULT, OFFICIAL, SMOOTH], ids=["default", "official", "areas averaged"])
def test_windows_are_cut_on_the_device_as_on_the_host(kernels, protocol, image, windows, order):
    plan = TwoLooks(saccade_card(channel_order=order, fill=(9, 8, 7)), protocol, 30)
    rules = protocol.saccade
    pixels = np.random.default_rng(0).integers(0, 256, (*image, 3), np.uint8)
    cuts = [cut(image, place, scale, SIDE, CELL, rules) for place, scale in windows]
    levels = np.empty((len(cuts), SIDE, SIDE, 3), np.float32)
    for canvas, one in zip(levels, cuts):
        place_cut(pixels, one, plan.card, rules, canvas)
    views = [(pixels, one) for one in cuts]
    np.testing.assert_allclose(cut_on_device(kernels, views, plan, np.float32), levels, rtol=0, atol=OFF)
    whole = cut_on_device(kernels, views, plan, np.uint8)
    assert np.abs(whole - levels).max() <= 0.5 + OFF
    clear = np.abs(levels % 1 - 0.5) > OFF
    np.testing.assert_array_equal(whole[clear], np.rint(levels)[clear])


IMAGES = [
    scene(TINY, LARGE),
    scene(AT_THE_EDGE, TINY),
    scene(),
    scene((20, 30, 60, 50, 210), height=77, width=91),
    scene((200, 700, 230, 740, 220), height=900, width=300),
]


@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "float"])
@pytest.mark.parametrize("protocol", ["default", "official"])
def test_boxes_are_those_of_the_same_images_on_the_host_and_no_pixel_visits_it(kernels, protocol, floats):
    def backend():
        found = SceneBackend()
        found.takes_float = floats
        return found

    asked = {"protocol": protocol, "soft_nms": "hard", "threads": 2}
    plain = Detector(backend(), **asked).predict(IMAGES)
    assert sum(map(len, plain)) >= 6 - 2 * (protocol == "official")
    arrays = [OnDevice(kernels, image) for image in IMAGES]
    placing = PlacesViews(kernels, backend())
    detector = Detector(placing, **asked)
    for found in (detector.predict(arrays), list(detector.stream(arrays, batch_size=2)), detector.predict(arrays[0])):
        same(found, plain[: len(found)])
    assert all(packed.memory.size == 0 for packed in placing.packed), "nothing was on the host"
    assert all(array.copies == 0 for array in arrays)
    wanted = np.float32 if floats and protocol == "official" else np.uint8
    assert len(placing.packed) >= 4 and all(packed.dtype == wanted for packed in placing.packed)


def test_images_of_the_host_are_cut_on_the_device_on_request_and_beside_those_that_lie_there(kernels):
    plain = Detector(SceneBackend(), soft_nms="hard").predict(IMAGES)
    placing = PlacesViews(kernels, SceneBackend())
    found = Detector(placing, soft_nms="hard", device_preprocessing=True).predict(IMAGES)
    same(found, plain)
    views, *crops = (packed.memory.size for packed in placing.packed)
    assert views == sum(image.size for image in IMAGES), "the views of an image share its copy"
    assert 0 < sum(crops) < views / 2, "of crops what they show"
    mixture = [OnDevice(kernels, image) if number % 2 else image for number, image in enumerate(IMAGES)]
    same(Detector(PlacesViews(kernels, SceneBackend()), soft_nms="hard").predict(mixture), plain)


def test_the_stream_that_wrote_an_image_is_waited_for_once_it_may_be_gone_at_the_second_look(kernels):
    placing = PlacesViews(kernels, SceneBackend())
    (found,) = Detector(placing, soft_nms="hard").predict(OnDevice(kernels, IMAGES[0], stream=77))
    assert len(found) == 2
    assert [packed.producers for packed in placing.packed] == [{77}, *[set()] * (len(placing.packed) - 1)]
    assert len(placing.packed) > 1


def test_an_image_that_fails_between_the_looks_leaves_the_others_theirs(kernels):
    images = [scene(TINY, LARGE), scene((100, 100, 118, 112, 199)), scene(TINY)]
    placing = PlacesViews(kernels, SceneBackend(fail_on=(199,)))
    found = Detector(placing, soft_nms="hard").predict([OnDevice(kernels, image) for image in images], batch_size=1)
    assert [each.error is None for each in found] == [True, False, True] and len(found[0]) == 2


def test_an_image_of_which_officially_nothing_is_seen_is_a_black_canvas(kernels):
    card = saccade_card(2, saccade=Saccade(view_sizes=(1,), max_crops=0))
    thin = np.full((1, 3000, 3), 200, np.uint8)
    placing = PlacesViews(kernels, SceneBackend(card))
    (found,) = Detector(placing, protocol="official").predict(OnDevice(kernels, thin))
    (expected,) = Detector(SceneBackend(card), protocol="official").predict(thin)
    assert found.error is expected.error is None and len(found) == len(expected) == 0
