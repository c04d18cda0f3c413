"""Canvases: what the network sees."""

import numpy as np
import pytest
from fake_backends import make_card
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine.geometry import place_fit, place_original
from cornernet.engine.protocol import DEFAULT, OFFICIAL
from cornernet.engine.reading.preprocess import place_on_canvas, resize


@pytest.mark.parametrize("name", ["single_100x150", "single_240x321"])
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_official_canvas_normalised_is_the_official_network_input(golden, name, mirrored):
    case = np.load(golden / "g_pre_post" / f"{name}.npz")
    image, card = case["image_bgr_u8"], make_card()
    placement = place_original(image.shape[:2], card, OFFICIAL)
    canvas = place_on_canvas(image, placement.mirror() if mirrored else placement, card, OFFICIAL)
    normalised = (canvas / 255.0 - np.float32(card.mean)) / np.float32(card.std)
    np.testing.assert_allclose(normalised.transpose(2, 0, 1), case["net_input_0"][int(mirrored)], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    order=st.sampled_from(["bgr", "rgb"]),
    mirrored=st.booleans(),
    fill=st.sampled_from([(0, 0, 0), (124, 116, 104)]),
    protocol=st.sampled_from([DEFAULT, OFFICIAL]),
)
def test_canvas_is_fill_with_the_image_in_the_middle(height, width, order, mirrored, fill, protocol):
    image = np.random.default_rng(height * 997 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    card = make_card(channel_order=order, fill=fill)
    placement = place_original((height, width), card, protocol)
    expected = np.empty((*placement.canvas, 3), np.uint8)
    expected[:] = fill
    for row in range(placement.shown[0]):
        for column in range(placement.shown[1]):
            pixel = image[row, column]
            expected[placement.top + row, placement.left + column] = pixel if order == "bgr" else pixel[::-1]
    if mirrored:
        placement, expected = placement.mirror(), expected[:, ::-1]
    canvas = place_on_canvas(image, placement, card, protocol)
    np.testing.assert_array_equal(canvas, expected)
    out = np.empty_like(canvas)
    assert place_on_canvas(image, placement, card, protocol, out=out) is out
    np.testing.assert_array_equal(out, expected)
    strided = np.empty_like(canvas[:, ::-1])[:, ::-1]
    assert place_on_canvas(image, placement, card, protocol, out=strided) is strided
    np.testing.assert_array_equal(strided, expected)


def test_strong_shrinking_averages_by_default_and_skips_pixels_officially():
    stripes = np.zeros((8, 800, 3), np.uint8)
    stripes[:, ::8] = 255  # one bright column in eight: mean 32
    averaged = resize(stripes, (8, 100), antialias=True)
    skipped = resize(stripes, (8, 100), antialias=False)
    np.testing.assert_allclose(averaged, 32, atol=1)
    assert skipped.max() == 0


def test_a_strip_of_one_pixel_fits():
    image = np.full((1, 20000, 3), 200, np.uint8)
    canvas = place_on_canvas(image, place_fit((1, 20000), (128, 256), DEFAULT), make_card(), DEFAULT)
    assert canvas.shape == (128, 256, 3) and (canvas == 200).any()
