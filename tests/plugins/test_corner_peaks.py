"""Peak kernels against the oracle: the same peaks in the same order, whatever ties, NaN or plateaus there are."""

import ml_dtypes
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.plugins.launchers import LaunchError

TYPES = [np.float32, np.float16, ml_dtypes.bfloat16]


def assert_peaks_match(kernels, logits: np.ndarray, top_k: int) -> None:
    scores, labels, cells = kernels.corner_peaks(logits, top_k)
    expected_scores, expected_labels, expected_cells = oracles.corner_peaks(logits, top_k)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_array_equal(cells, expected_cells)
    np.testing.assert_allclose(scores, expected_scores, rtol=1.2e-7, atol=0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("shape", "top_k"),
    [
        ((1, 1, 1, 1), 1),
        ((1, 1, 1, 1), 100),
        ((2, 3, 5, 7), 10),  # single elements
        ((3, 4, 32, 64), 100),  # vectors, one part
        ((1, 5, 64, 64), 100),  # several parts, merged
        ((1, 3, 61, 67), 1000),
    ],
)
def test_corner_peaks_match_the_oracle(kernels, shape, top_k, dtype):
    logits = np.random.default_rng(0).normal(-3, 2, shape).astype(np.float32).astype(dtype)
    assert_peaks_match(kernels, logits, top_k)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_on_a_plateau_every_cell_is_a_peak_and_the_first_cells_win(kernels, dtype):
    logits = np.full((2, 2, 96, 128), -1.5, dtype)
    assert_peaks_match(kernels, logits, 100)


def test_among_few_distinct_values_the_lower_index_wins(kernels):
    logits = np.random.default_rng(2).integers(-2, 3, (2, 3, 48, 64)).astype(np.float32)
    assert_peaks_match(kernels, logits, 257)


def test_minus_zero_and_zero_are_one_value_ordered_by_index_only(kernels):
    logits = np.full((1, 1, 9, 16), -5, np.float32)
    logits[0, 0, ::2, ::2] = -0.0
    logits[0, 0, 4, 4] = 0.0
    scores, _, cells = kernels.corner_peaks(logits, 40)
    assert cells[0].tolist() == sorted(cells[0].tolist())
    assert (scores == 0.5).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_nan_and_minus_infinity_are_never_peaks_and_infinity_scores_one(kernels, dtype):
    rng = np.random.default_rng(3)
    logits = rng.choice(
        [np.nan, -np.inf, np.inf, -3.0, 2.0, 0.0], (2, 2, 24, 32), p=[0.3, 0.3, 0.02, 0.18, 0.1, 0.1]
    ).astype(dtype)
    assert_peaks_match(kernels, logits, 300)
    nothing = np.full((1, 2, 16, 16), np.nan, dtype)
    nothing[0, 1] = -np.inf
    scores, labels, cells = kernels.corner_peaks(nothing, 5)
    assert (scores == 0).all() and (labels == -1).all() and (cells == 0).all()


def test_denormals_and_the_largest_numbers_keep_their_order(kernels):
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 1 << 32, (1, 2, 40, 40), dtype=np.uint32)
    assert_peaks_match(kernels, bits.view(np.float32), 200)  # every kind of float, NaN included
    tiny = (rng.integers(-50, 50, (1, 1, 30, 30)) * np.float32(1e-45)).astype(np.float32)
    assert_peaks_match(kernels, tiny, 100)


def test_a_window_ends_at_the_border_and_at_the_class(kernels):
    logits = np.zeros((1, 2, 4, 8), np.float32)
    logits[0, 0, 3, 7] = 5.0  # last cell of class 0, beside the first cell of class 1 in memory
    logits[0, 1, 0, 0] = 4.0
    logits[0, 0, 1, 0] = 3.0  # row 1 starts where row 0 ends in memory
    logits[0, 0, 0, 7] = 2.0
    _, labels, cells = kernels.corner_peaks(logits, 4)
    assert list(zip(labels[0].tolist(), cells[0].tolist())) == [(0, 31), (1, 0), (0, 8), (0, 7)]


def test_the_result_does_not_depend_on_the_order_of_threads(kernels):
    logits = np.random.default_rng(5).integers(-20, 20, (1, 2, 96, 96)).astype(np.float16)
    for seed in (0, 1, 2):
        kernels.configure(seed=seed)
        assert_peaks_match(kernels, logits, 100)
    kernels.configure()


def test_lists_that_overflow_several_times_still_hold_the_best(emulated):
    # Rising logits: every later peak beats all earlier ones, so each step of a part refills its list.
    logits = np.arange(1024 * 1024, dtype=np.float32).reshape(1, 1, 1024, 1024)
    logits[0, 0, 1::2] = -1
    logits[0, 0, :, 1::2] = -1
    assert_peaks_match(emulated, logits, 1000)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 40), st.integers(1, 70)),
    top_k=st.sampled_from([1, 2, 17, 100, 999, 1000]),
    levels=st.sampled_from([2, 10, 10000]),
    dtype=st.sampled_from(TYPES),
    seed=st.integers(0, 3),
)
def test_any_shape_and_k_match_the_oracle(emulated, shape, top_k, levels, dtype, seed):
    emulated.configure(seed=seed)
    values = np.random.default_rng(seed).integers(0, levels, shape) / levels * 12 - 8
    assert_peaks_match(emulated, values.astype(np.float32).astype(dtype), top_k)
    emulated.configure()


@pytest.mark.parametrize(
    ("shape", "top_k"), [((1, 1, 4, 4), 0), ((1, 1, 4, 4), 1001), ((1, 0, 4, 4), 5), ((1, 3, 30000, 30000), 5)]
)
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, shape, top_k):
    assert emulated.launchers.corner_peaks_workspace(shape, top_k) == 0
    with pytest.raises(LaunchError):
        emulated.launchers.corner_peaks(64, 64, 64, 64, 64, shape, top_k=top_k, type="float32")


def test_an_empty_batch_is_no_error(kernels):
    assert all(each.size == 0 for each in kernels.corner_peaks(np.zeros((0, 2, 8, 8), np.float32), 10))


def test_the_peaks_do_not_depend_on_how_many_parts_the_gpu_gets(emulated):
    logits = np.random.default_rng(8).normal(-2, 2, (2, 5, 96, 128)).astype(np.float16)
    logits[:, 2] = 1.5  # a plateau across parts: ties everywhere
    expected = oracles.corner_peaks(logits, 60)
    try:
        for multiprocessors in (1, 3, 132):
            emulated.configure(multiprocessors=multiprocessors)
            for got, wanted in zip(emulated.corner_peaks(logits, 60), expected):
                np.testing.assert_allclose(got, wanted, rtol=1.2e-7)
    finally:
        emulated.configure()
