"""Windows of images on canvases, beside slow references, for sizes and places that nobody would choose."""

from dataclasses import replace

import numpy as np
import oracles_saccade as oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from planted_saccade import saccade_card

from cornernet.engine.protocol import DEFAULT, OFFICIAL, OFFICIAL_SACCADE, SaccadeRules
from cornernet.engine.saccade import cuts
from cornernet.engine.saccade.cuts import cut, place_cut, view

CARD = saccade_card()
DEFAULT_RULES = DEFAULT.saccade
SIDE, CELL = 31, 4
sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))
places = st.tuples(st.floats(-200, 300), st.floats(-200, 300))
scales = st.floats(0.05, 40)
either = st.sampled_from([DEFAULT_RULES, OFFICIAL_SACCADE])


def noise(image, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*image, 3), np.uint8)


def canvas_of(one, image, rules=OFFICIAL_SACCADE, card=CARD):
    canvas = np.full((*one.canvas, 3), 7, np.uint8)
    place_cut(image, one, card, rules, canvas)
    return canvas


def rectangle(pairs):
    return tuple(edge for span in pairs for edge in span)


@settings(max_examples=40, deadline=None)
@given(sizes, places, scales)
def test_the_official_cut_is_that_of_the_description_to_half_a_grey_level(image, place, scale):
    one = cut(image, place, scale, SIDE, CELL, OFFICIAL_SACCADE)
    expected = oracles.official_window(image, *place, scale, SIDE)
    assert one.is_empty == (expected is None)
    pixels = noise(image)
    if expected is None:
        assert not canvas_of(one, pixels).any()
        return
    source, target, offset = expected
    assert (rectangle(one.source), rectangle(one.target), one.origin) == (source, target, offset)
    exact = oracles.paste(pixels, source, target, SIDE)
    assert np.abs(canvas_of(one, pixels) - exact).max() <= 0.5 + 1e-3


@settings(max_examples=100, deadline=None)
@given(sizes, places, scales, either)
def test_nothing_about_an_image_or_a_location_fails(image, place, scale, rules):
    one = cut(image, place, scale, SIDE, CELL, rules)
    (y0, y1), (x0, x1) = one.source
    (t0, t1), (l0, l1) = one.target
    canvas = canvas_of(one, np.full((*image, 3), 200, np.uint8), rules)
    if one.is_empty:
        assert not canvas.any()
    else:
        assert 0 <= y0 < y1 <= image[0] and 0 <= x0 < x1 <= image[1]
        assert 0 <= t0 < t1 <= SIDE and 0 <= l0 < l1 <= SIDE
        assert (canvas[t0:t1, l0:l1] == 200).all() and canvas.sum() == 200 * 3 * (t1 - t0) * (l1 - l0)
    boxes = one.to_image(np.float32([[0, 0, SIDE, SIDE]]), DEFAULT)
    assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= (*image[::-1], *image[::-1])).all()


@settings(max_examples=60, deadline=None)
@given(sizes, scales)
def test_a_location_inside_the_image_always_shows_something(image, scale):
    for y in (0, image[0] // 2, image[0] - 1):
        for x in (0, image[1] // 2, image[1] - 1):
            assert not cut(image, (y, x), scale, SIDE, CELL, DEFAULT_RULES).is_empty


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(40, 200), st.integers(40, 200)), st.floats(0.3, 3), st.floats(0, 1), st.floats(0, 1))
def test_boxes_go_back_by_what_the_resize_did(image, scale, down, along):
    """A ramp shows where each canvas pixel comes from."""
    ramp = np.zeros((*image, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(image[0])[:, None], np.arange(image[1])
    one = cut(image, (down * image[0], along * image[1]), scale, 255, CELL, DEFAULT_RULES)
    canvas = canvas_of(one, ramp, DEFAULT_RULES).astype(float)
    (t0, t1), (l0, l1) = one.target
    for row, column in ((t0, l0), ((t0 + t1) // 2, (l0 + l1) // 2), (t1 - 1, l1 - 1)):
        x, y, _, _ = one.to_image(np.float32([[column + 0.5, row + 0.5, 0, 0]]), DEFAULT)[0]
        shown = canvas[row, column]
        # Half a level of rounding; at the image's edge an enlarged pixel is its centre.
        assert abs(shown[0] - np.clip(y - 0.5, 0, image[0] - 1)) <= 0.51
        assert abs(shown[1] - np.clip(x - 0.5, 0, image[1] - 1)) <= 0.51


def test_the_asked_scale_alone_is_two_pixels_off_at_the_far_edge_of_a_wide_image():
    official = view((480, 640), 255, 255, CELL, OFFICIAL_SACCADE)
    exact = view((480, 640), 255, 255, CELL, SaccadeRules(clear_border=False))
    right = [one.target[1][1] for one in (official, exact)]
    edges = [one.to_image(np.float32([[0, 0, x, 0]]), protocol)[0, 2] for one, x, protocol in
             ((official, right[0], OFFICIAL), (exact, right[1], DEFAULT))]  # fmt: skip
    assert right == [254, 255]
    assert edges == pytest.approx([637.5, 640], abs=0.1)


@settings(max_examples=100, deadline=None)
@example(image=(84, 1), scale=1.7421875, down=0.875, along=0.0)  # its edge is cut by a third of a pixel
@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), st.floats(0.1, 2), st.floats(0, 1), st.floats(0, 1))
def test_edges_of_the_image_stay_out_of_the_border_cells_where_there_is_room(image, scale, down, along):
    one = cut(image, (down * image[0], along * image[1]), scale, 255, CELL, DEFAULT_RULES)
    for length, (first, end), (start, stop) in zip(image, one.source, one.target):
        if length * scale <= 255 - 2 * CELL - 1:  # all of it may be on the canvas
            assert (start >= CELL or first > 0) and (stop <= 255 - CELL or end < length)
        elif length * scale > 255 + 2 * CELL:  # an edge cut by half a pixel counts as cut
            assert first > 0 or start >= CELL or start <= 1
            assert end < length or stop <= 255 - CELL or stop >= 254


@pytest.mark.parametrize("image", [(480, 640), (640, 426), (16, 16), (1, 1), (300, 4000)])
def test_views_leave_the_border_cells_to_what_an_edge_cuts(image):
    for size in (192, 255):
        (rows, columns) = view(image, size, 255, CELL, DEFAULT_RULES).target
        assert min(rows[0], columns[0]) >= CELL and max(rows[1], columns[1]) <= 255 - CELL


def test_numpy_2_counts_the_pixels_of_a_view_in_float32():
    """Of 600 pixels the official code showed 598, before numpy changed."""
    shown = [
        view((400, 600), 255, 255, CELL, replace(OFFICIAL_SACCADE, float32_size=newer)).source[1]
        for newer in (False, True)
    ]
    assert shown == [(1, 599), (0, 600)]


@pytest.mark.parametrize("image", [(330, 460), (90, 31), (1, 70), (8, 8)])
def test_a_large_picture_is_shrunk_as_a_small_one(monkeypatch, image):
    picture = noise(image, seed=3)
    one = view(image, 120, 255, CELL, DEFAULT_RULES)
    exact = oracles.paste(picture, rectangle(one.source), rectangle(one.target))
    small = canvas_of(one, picture, DEFAULT_RULES)
    monkeypatch.setattr(cuts, "_WHOLE", 0)
    large = canvas_of(one, picture, DEFAULT_RULES)
    for canvas in (small, large):
        assert np.abs(canvas - exact).max() <= 0.5 + 1e-3


def test_area_averaging_is_there_for_those_who_want_it():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[::2] = 255
    rules = SaccadeRules(antialias=True)
    canvas = canvas_of(view((800, 800), 192, 255, CELL, rules), stripes, rules)
    inner = canvas[60:190, 60:190].astype(int)
    assert abs(inner.mean() - 127.5) < 2 and inner.std() < 40


def test_canvases_are_in_the_colours_of_the_card_on_its_padding():
    card = saccade_card(channel_order="rgb", fill=(1, 2, 3))
    blue = np.zeros((20, 10, 3), np.uint8)
    blue[..., 0] = 200
    canvas = canvas_of(view((20, 10), 192, 255, CELL, DEFAULT_RULES), blue, DEFAULT_RULES, card)
    assert canvas[0, 0].tolist() == [1, 2, 3] and canvas[127, 127].tolist() == [0, 0, 200]
