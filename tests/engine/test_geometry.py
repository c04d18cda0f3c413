"""Placement: image pixels to canvas pixels and back."""

from dataclasses import replace

import numpy as np
import pytest
from fake_backends import make_card
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine.errors import ImageError
from cornernet.engine.geometry import canvas_side, fit_canvas, place_fit, place_original
from cornernet.engine.protocol import DEFAULT, MMDETECTION, OFFICIAL


@pytest.mark.parametrize("side", [1, 100, 126, 127, 128, 255, 256, 480, 512, 640])
def test_official_canvas_side_is_side_or_127(side):
    assert canvas_side(side, 128, "official") == side | 127


@pytest.mark.parametrize(("side", "expected"), [(1, 128), (127, 128), (128, 128), (129, 256), (640, 640)])
def test_default_canvas_side_is_the_next_multiple(side, expected):
    assert canvas_side(side, 128, "multiple") == expected


@pytest.mark.parametrize("name", ["single_100x150", "single_240x321", "single_480x640_postonly"])
def test_official_placement_has_the_border_of_the_official_code(golden, name):
    case = np.load(golden / "g_pre_post" / f"{name}.npz")
    placement = place_original(tuple(case["resized_hw_0"]), make_card(), OFFICIAL)
    top, left, (height, width) = placement.top, placement.left, placement.shown
    np.testing.assert_array_equal([top, top + height, left, left + width], case["border_0"])


def test_official_placement_loses_the_last_row_of_an_image_that_fills_the_canvas():
    assert place_original((127, 255), make_card(), OFFICIAL).shown == (126, 254)
    assert place_original((127, 255), make_card(), replace(OFFICIAL, keep_last_row=True)).shown == (127, 255)
    assert place_original((128, 256), make_card(), DEFAULT).shown == (128, 256)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    scale=st.sampled_from([0.5, 0.75, 1.0, 1.25]),
    mirrored=st.sampled_from([None, "edges", "pixels"]),
    protocol=st.sampled_from([DEFAULT, OFFICIAL, MMDETECTION]),
    fit=st.booleans(),
)
def test_a_box_comes_back_from_the_canvas_where_it_was(height, width, scale, mirrored, protocol, fit):
    card = make_card()
    if fit:
        placement = place_fit((height, width), fit_canvas((256, 384), card, scale=scale), protocol)
    else:
        placement = place_original((height, width), card, protocol, scale=scale)
    placement = placement.mirror(mirrored) if mirrored else placement
    box = np.array([[0.25 * width, 0.1 * height, 0.5 * width, 0.7 * height]], np.float32)
    back = placement.to_image(placement.to_canvas(box, protocol), protocol)
    if protocol.nominal_scale and min(height, width) < 8:
        return  # truncation to whole pixels cuts off most of such an image, and clipping with it
    np.testing.assert_allclose(back, box, atol=2e-3 / min(placement.scale), rtol=1e-5)
    assert card.is_legal_side(placement.canvas[0]) and card.is_legal_side(placement.canvas[1])
    assert placement.top >= 0 and placement.top + placement.resized[0] <= placement.canvas[0]
    assert placement.left >= 0 and placement.left + placement.resized[1] <= placement.canvas[1]


def test_boxes_are_clipped_to_the_image():
    placement = place_original((100, 200), make_card(), DEFAULT)
    np.testing.assert_array_equal(placement.to_image(np.float32([[-9, -9, 999, 999]]), DEFAULT), [[0, 0, 200, 100]])


def test_mmdetection_clips_at_zero_only():
    placement = place_original((100, 200), make_card(), MMDETECTION)
    box = placement.to_image(np.float32([[-9, -9, 250, 126]]), MMDETECTION)
    np.testing.assert_array_equal(box[0, :2], 0)
    assert box[0, 2] > 200 and box[0, 3] > 100


def test_un_mirroring_undoes_what_training_did_to_corners():
    placement = place_original((100, 150), make_card(), DEFAULT)
    width = placement.canvas[1]
    x1, x2 = np.float32([70, 95])  # on the plain canvas
    for trained, one in (("edges", 0), ("pixels", 1)):
        seen = np.array([[width - one - x2, 30, width - one - x1, 60]])
        plain = placement.to_image(np.array([[x1, 30, x2, 60]]), DEFAULT)
        np.testing.assert_array_equal(placement.mirror(trained).to_image(seen, DEFAULT), plain)


@pytest.mark.parametrize("width", [200, 201])
def test_official_and_mmdetection_mirror_about_their_own_axes(width):
    placement = place_original((100, width), make_card(), OFFICIAL).mirror("pixels")
    box = np.float32([[100, 60, 150, 90]])
    x1 = {p.name: placement.to_image(box, p)[0, 0] for p in (DEFAULT, OFFICIAL, MMDETECTION)}
    assert x1["official"] - x1["default"] == 1
    # mmdetection mirrors about the image: off by the difference of the margins, which is 1 for an even width.
    assert x1["official"] - x1["mmdetection"] == (1 if width % 2 == 0 else 0)


def test_nominal_scale_divides_by_the_asked_factor_and_the_corrected_one_by_the_true_ratio():
    card = make_card()
    image = (161, 161)  # times 0.75 = 120.75, cut to 120
    official, default = (place_original(image, card, protocol, scale=0.75) for protocol in (OFFICIAL, DEFAULT))
    everything = np.float32([[0, 0, 999, 999]])
    np.testing.assert_allclose(official.to_image(everything, OFFICIAL)[0, 2:], 160)
    np.testing.assert_allclose(default.to_image(everything, DEFAULT)[0, 2:], 161)


def test_an_image_too_large_for_the_model_is_refused_with_advice():
    with pytest.raises(ImageError, match=r'accepts sides up to 1024\. Use resize="fit"'):
        place_original((20000, 1), make_card(), DEFAULT)


@pytest.mark.parametrize("image", [(1, 1), (1, 20000), (20000, 1), (3000, 4000)])
def test_fit_takes_any_image(image):
    placement = place_fit(image, (256, 384), DEFAULT)
    assert placement.canvas == (256, 384)
    assert 1 <= placement.resized[0] <= 256 and 1 <= placement.resized[1] <= 384
