"""Grouping kernel against the oracle: the same boxes in the same rows, and every row of every output written."""

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.plugins.launchers import LaunchError

NAMES = ["boxes", "scores", "corner_scores", "labels", "counts"]


def corners(images: int, slots: int, *, classes: int = 3, levels: int = 0, spread: float = 1.0, seed: int = 0):
    """Random top-left and bottom-right corners. Few score levels make ties, a small spread makes embeddings close."""
    rng = np.random.default_rng(seed)

    def side(shift: float):
        scores = rng.random((images, slots)).astype(np.float32)
        if levels:
            scores = (np.floor(scores * levels) / levels).astype(np.float32)
        labels = rng.integers(-1, classes, (images, slots)).astype(np.int32)
        embeddings, x, y = rng.normal(0, spread, (3, images, slots)).astype(np.float32)
        return scores, labels, embeddings, np.round(x * 10 + shift), np.round(y * 10 + shift)

    return side(0.0), side(5.0)


def assert_groups_match(kernels, top_left, bottom_right, **rules) -> None:
    expected = oracles.corner_group(top_left, bottom_right, **rules)
    for name, got, want in zip(NAMES, kernels.corner_group(top_left, bottom_right, **rules), expected):
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize(("slots", "num_dets"), [(1, 1), (1, 3840), (7, 5), (33, 100), (100, 1000), (100, 3840)])
def test_corner_group_matches_the_oracle(kernels, slots, num_dets):
    assert_groups_match(kernels, *corners(2, slots), num_dets=num_dets)


def test_of_pairs_with_equal_scores_the_lower_slots_come_first(kernels):
    assert_groups_match(kernels, *corners(2, 60, classes=1, levels=3, spread=0.2), num_dets=100)


def test_more_survivors_than_rows_keeps_exactly_the_best(kernels):
    everything = corners(1, 100, classes=1, spread=0.01)
    assert_groups_match(kernels, *everything, num_dets=500, max_distance=10.0)
    assert_groups_match(kernels, *corners(1, 100, classes=1, levels=1, spread=0.01), num_dets=77)  # one plateau


@pytest.mark.parametrize("reject_zero_size", [False, True])
def test_boxes_without_extent_are_kept_unless_asked_otherwise(kernels, reject_zero_size):
    top_left, bottom_right = corners(1, 40, classes=1, spread=0.1)
    top_left[3][:], top_left[4][:] = 2.0, 3.0
    bottom_right[3][:], bottom_right[4][:] = np.float32([[1, 2, 3, 2] * 10]), np.float32([[3, 3, 4, 2] * 10])
    assert_groups_match(kernels, top_left, bottom_right, num_dets=200, reject_zero_size=reject_zero_size)


@pytest.mark.parametrize("field", [0, 2, 3, 4])
def test_a_nan_in_any_field_rejects_the_pair(kernels, field):
    top_left, bottom_right = corners(1, 20, classes=1, spread=0.1)
    top_left[field][0, ::2] = np.nan
    boxes, scores, _, labels, counts = kernels.corner_group(top_left, bottom_right, num_dets=400)
    top_left[1][0, ::2] = -1  # the same corners, rejected for their label
    top_left[field][0, ::2] = 0
    expected = oracles.corner_group(top_left, bottom_right, num_dets=400)
    for got, want in zip((boxes, scores, labels, counts), (expected[0], expected[1], expected[3], expected[4])):
        np.testing.assert_array_equal(got, want)


def test_infinite_coordinates_and_scores_below_zero_are_ordinary_numbers(kernels):
    top_left, bottom_right = corners(1, 30, classes=1, spread=0.1)
    top_left[0][0, 4:9] = -3.0
    bottom_right[0][0, :3] = [np.inf, -np.inf, -0.0]
    top_left[3][0, 0], bottom_right[4][0, 1] = -np.inf, np.inf
    assert_groups_match(kernels, top_left, bottom_right, num_dets=300)


def test_the_embedding_threshold_is_inclusive(kernels):
    def side(embedding):
        one = np.ones((1, 1), np.float32)
        return one, one.astype(np.int32), one * np.float32(embedding), one, one

    assert kernels.corner_group(side(1.0), side(1.5), num_dets=1, max_distance=0.5)[4] == [1]
    assert kernels.corner_group(side(1.0), side(1.5000001), num_dets=1, max_distance=0.5)[4] == [0]


def test_the_result_does_not_depend_on_the_order_of_threads(kernels):
    for seed in (0, 1, 2):
        kernels.configure(seed=seed)
        assert_groups_match(kernels, *corners(1, 70, classes=2, levels=5, seed=9), num_dets=120)
    kernels.configure()


def test_the_largest_k_with_a_million_pairs_matches_the_oracle(emulated):
    assert_groups_match(emulated, *corners(1, 1000, classes=40, spread=3.0), num_dets=3840)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    images=st.integers(1, 3),
    slots=st.integers(1, 60),
    num_dets=st.sampled_from([1, 3, 64, 100, 1000]),
    levels=st.sampled_from([0, 2, 10]),
    max_distance=st.sampled_from([0.0, 0.5, 100.0]),
    seed=st.integers(0, 3),
)
def test_any_corners_match_the_oracle(emulated, images, slots, num_dets, levels, max_distance, seed):
    emulated.configure(seed=seed)
    assert_groups_match(
        emulated, *corners(images, slots, levels=levels, seed=seed), num_dets=num_dets, max_distance=max_distance
    )
    emulated.configure()


@pytest.mark.parametrize(("slots", "num_dets"), [(0, 5), (1001, 5), (10, 0), (10, 3841)])
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, slots, num_dets):
    with pytest.raises(LaunchError):
        emulated.launchers.corner_group([64] * 10, [64] * 5, 64, 1, slots, num_dets=num_dets)
