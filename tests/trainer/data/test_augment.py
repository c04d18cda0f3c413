"""Augmentation: boxes follow their pixels, colours follow the official steps, everything follows the generator."""

import numpy as np
import oracles_training as oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cornernet.engine.model_card import ModelCard
from cornernet.trainer.data.augment import (
    AugmentConfig,
    Window,
    augment,
    boxes_in_window,
    colour_matrix,
    cut_window,
    random_window,
)

CARD = ModelCard(name="test", class_names=("a",), category_ids=(1,))
IDENTITY = CARD.model_copy(update={"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)})
"""A card under which the network's input is the pixel value."""

COLOURLESS = {"colour": 0, "lighting": 0}
WHOLE = {"centre": True, "scales": (1.0,)}
PLAIN = AugmentConfig(flip=0, **WHOLE, **COLOURLESS)


def scene(size=(120, 160), box=(40, 30, 100, 80)):
    """A white box on black ground."""
    image = np.zeros((*size, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return image, np.array([box], np.float32), np.array([0])


def run(image, boxes, labels, *, seed=0, size=(128, 128), card=IDENTITY, **changes):
    config = AugmentConfig(**changes)
    return augment(image, boxes, labels, np.random.default_rng(seed), size=size, config=config, card=card)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("resize", ["fit", "original"])
def test_the_box_still_holds_the_object_after_crop_scale_and_flip(seed, resize):
    image, boxes, labels = scene()
    found, moved, kept = run(image, boxes, labels, seed=seed, resize=resize, **COLOURLESS)
    rows, columns = np.nonzero(found[..., 0] > 127)
    if len(rows) == 0:
        assert len(moved) == 0 or min(moved[0, 2] - moved[0, 0], moved[0, 3] - moved[0, 1]) < 1
        return
    pixels = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved[0], pixels, atol=1.01)
    assert len(kept) == 1


def test_flipping_mirrors_the_pixels_and_the_box_about_the_same_axis():
    image, boxes, labels = scene(size=(128, 128), box=(10, 20, 50, 60))
    plain, plain_boxes, _ = run(image, boxes, labels, flip=0, **WHOLE, **COLOURLESS)
    mirrored, mirrored_boxes, _ = run(image, boxes, labels, flip=1, **WHOLE, **COLOURLESS)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    np.testing.assert_array_equal(mirrored_boxes, [[128 - 50, 20, 128 - 10, 60]])
    np.testing.assert_array_equal(plain_boxes, boxes)


def test_a_plain_view_is_the_whole_image_centred_and_normalised():
    image, boxes, labels = scene(size=(60, 120), box=(0, 0, 120, 60))
    found, moved, _ = augment(image, boxes, labels, np.random.default_rng(0), size=(128, 128), config=PLAIN, card=CARD)
    np.testing.assert_allclose(moved, [[0, 32, 128, 96]], atol=1.1)
    np.testing.assert_allclose(found[64, 64], (1 - np.array(CARD.mean)) / CARD.std, rtol=1e-5)
    np.testing.assert_allclose(found[0, 0], -np.array(CARD.mean) / CARD.std, rtol=1e-5)  # padding: zero before the mean
    assert found.dtype == np.float32 and found.shape == (128, 128, 3)


def test_channel_order_mean_and_fill_are_the_cards():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 2] = 200  # red
    card = IDENTITY.model_copy(update={"channel_order": "rgb", "mean": (0.1, 0.2, 0.3), "fill": (7, 8, 9)})
    nothing = np.zeros((0, 4)), np.zeros(0, int)
    found, _, _ = augment(image, *nothing, np.random.default_rng(0), size=(64, 128), config=PLAIN, card=card)
    np.testing.assert_allclose(found[32, 64], [200 - 25.5, -51, -76.5], rtol=1e-4)
    np.testing.assert_allclose(found[32, 0], [7 - 25.5, 8 - 51, 9 - 76.5], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_colour_matrix_equals_the_official_steps_in_their_order(seed):
    image = np.random.default_rng(seed).random((9, 7, 3))
    config = AugmentConfig(lighting=0)
    matrix = colour_matrix(image.mean(axis=(0, 1)), np.random.default_rng(seed), config)
    rng = np.random.default_rng(seed)
    order, alphas = rng.permutation(3), {}
    for step in order:
        alphas[step] = 1 + rng.uniform(-0.4, 0.4)
    found = image @ matrix[:, :3].T + matrix[:, 3]
    np.testing.assert_allclose(found, oracles.jitter_pixels(image, alphas, order), atol=1e-12)


def test_lighting_adds_one_colour_of_the_official_spread():
    config = AugmentConfig(colour=0)
    draws = [colour_matrix(np.zeros(3), np.random.default_rng(seed), config) for seed in range(4000)]
    assert all(np.array_equal(draw[:, :3], np.eye(3)) for draw in draws[:10])
    spread = np.std([draw[:, 3] for draw in draws], axis=0)
    values, vectors = (0.2141788, 0.01817699, 0.00341571), ((-0.58752847, -0.69563484), (-0.5832747, 0.00994535))
    blue = 0.1 * np.hypot(values[0] * vectors[0][0], values[1] * vectors[0][1])
    green = 0.1 * np.hypot(values[0] * vectors[1][0], values[1] * vectors[1][1])
    np.testing.assert_allclose(spread[:2], [blue, green], rtol=0.05)


@settings(max_examples=80, deadline=None)
@given(
    image=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    size=st.tuples(st.integers(16, 520), st.integers(16, 520)),
    seed=st.integers(0, 2**32 - 1),
    resize=st.sampled_from(["fit", "original"]),
)
def test_every_window_is_centred_in_the_image_and_has_an_official_scale(image, size, seed, resize):
    config = AugmentConfig(resize=resize)
    window = random_window(image, np.random.default_rng(seed), size=size, config=config)
    assert 0 <= window.left + window.width / 2 <= image[1] and 0 <= window.top + window.height / 2 <= image[0]
    fit = 1 if resize == "original" else min(size[0] / image[0], size[1] / image[1])
    assert window.width / size[1] == pytest.approx(window.height / size[0])
    assert any(window.height * fit / size[0] == pytest.approx(scale) for scale in config.scales)


def centres(image, config):
    """Middle of many windows for a canvas of 511 x 511: x, y [px]."""
    windows = [random_window(image, np.random.default_rng(s), size=(511, 511), config=config) for s in range(2000)]
    return np.array([(window.left + window.width / 2, window.top + window.height / 2) for window in windows]).T


def test_crop_centres_keep_the_official_border():
    columns, rows = centres((511, 600), AugmentConfig(resize="original"))
    np.testing.assert_allclose([columns.min(), columns.max()], [128, 600 - 128], atol=1)
    np.testing.assert_allclose([rows.min(), rows.max()], [128, 511 - 128], atol=1)


def test_a_border_larger_than_half_the_image_is_halved():
    columns, _ = centres((200, 200), AugmentConfig(resize="original"))
    np.testing.assert_allclose([columns.min(), columns.max()], [64, 200 - 64], atol=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 60), st.integers(1, 60))
def test_a_window_at_scale_one_is_the_image_shifted_and_filled(left, top, width, height):
    image = np.random.default_rng(0).integers(1, 256, (24, 32, 3), np.uint8)
    found = cut_window(image, Window(left, top, width, height), (height, width), fill=(5, 6, 7))
    for row in range(height):
        for column in range(width):
            y, x = row + top, column + left
            inside = 0 <= y < 24 and 0 <= x < 32
            assert found[row, column].tolist() == (image[y, x].tolist() if inside else [5, 6, 7])


def test_objects_outside_the_window_are_dropped_and_the_rest_is_clipped():
    boxes = [[0, 0, 10, 10], [15, 15, 35, 35], [60, 60, 70, 70], [30, 30, 40, 40]]
    found, kept = boxes_in_window(boxes, Window(20, 20, 20, 20), (40, 40))
    assert kept.tolist() == [False, True, False, True]
    np.testing.assert_allclose(found, [[0, 0, 30, 30], [20, 20, 40, 40]])


def test_min_visible_drops_objects_that_are_mostly_cut_away():
    boxes = [[10, 0, 30, 10], [18, 0, 38, 10]]  # half of the first, nine tenths of the second are inside
    for share, expected in [(0, [True, True]), (0.5, [True, True]), (0.6, [False, True]), (0.95, [False, False])]:
        assert boxes_in_window(boxes, Window(20, 0, 40, 40), (40, 40), min_visible=share)[1].tolist() == expected


def test_the_same_generator_gives_the_same_view_and_another_one_another():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (100, 140, 3), np.uint8)
    first, again, other = (run(image, np.zeros((0, 4)), np.zeros(0, int), seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_image_given_is_left_as_it_was():
    image, boxes, labels = scene(size=(128, 128))
    before = image.copy(), boxes.copy()
    run(image, boxes, labels, flip=1, **WHOLE)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(boxes, before[1])


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.5}, {"scales": ()}, {"scales": (0.0,)}, {"zoom": 2}, {"resize": "stretch"}]
)
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AugmentConfig(**wrong)
