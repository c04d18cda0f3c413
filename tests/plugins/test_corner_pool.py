"""Corner pooling kernel against the running maxima of the oracle: bit for bit, in every type and layout."""

import ml_dtypes
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.plugins.launchers import LaunchError

TYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
CORNERS = ["top_left", "bottom_right"]
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 7, 129),  # odd width: single elements
    (1, 2, 128, 128),  # one tile of float16, two of float32
    (1, 1, 33, 40),
    (1, 1, 9, 1024),  # more cells in a row than threads in a block
    (1, 1, 1024, 8),  # many bands, one cell per row
    (2, 9, 40, 136),  # channels that are no multiple of 8
]


def maps(shape: tuple[int, ...], dtype: object, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, *shape)).astype(np.float32)
    return first.astype(dtype), second.astype(dtype)


def assert_same_bits_or_nan(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_corner_pool_matches_the_oracle(kernels, shape, dtype, corner):
    first, second = maps(shape, dtype)
    assert_same_bits_or_nan(kernels.corner_pool(first, second, corner), oracles.corner_pool(first, second, corner))


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(("compute_capability", "multiprocessors"), [(9, 132), (9, 8), (8, 108)])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 8, 16, 33), (1, 9, 64, 40), (1, 24, 100, 17), (2, 8, 5, 260), (1, 24, 20, 140)]
)
def test_channels_last_matches_the_oracle_in_clusters_and_without(
    kernels, shape, compute_capability, multiprocessors, corner
):
    kernels.configure(compute_capability=compute_capability, multiprocessors=multiprocessors)
    first, second = maps(shape, np.float16)
    pooled = kernels.corner_pool(first, second, corner, "channels_last_8")
    assert_same_bits_or_nan(pooled, oracles.corner_pool(first, second, corner))
    kernels.configure()


@pytest.mark.parametrize("layout", ["planes", "channels_last_8"])
def test_a_nan_reaches_everything_that_looks_towards_it_and_nothing_else(kernels, layout):
    first, second = maps((1, 2, 24, 48), np.float16)
    first[0, 0, 7, 11] = second[0, 1, 3, 5] = second[0, 0, 20, 47] = np.nan
    for corner in CORNERS:
        with np.errstate(invalid="ignore"):
            expected = oracles.corner_pool(first, second, corner)
        assert_same_bits_or_nan(kernels.corner_pool(first, second, corner, layout), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_infinities_denormals_and_overflow_of_the_sum_match_the_oracle(kernels, dtype):
    rng = np.random.default_rng(1)
    largest = float(ml_dtypes.finfo(dtype).max)
    smallest = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    values = np.array(
        [-np.inf, np.inf, -largest, largest, -smallest, smallest, 0.0, -0.0, 3 * smallest, -7 * smallest, 1.0]
    )
    first, second = rng.choice(values, (2, 1, 3, 17, 24)).astype(dtype)
    for corner in CORNERS:
        with np.errstate(all="ignore"):
            expected = oracles.corner_pool(first, second, corner)
        assert_same_bits_or_nan(kernels.corner_pool(first, second, corner), expected)


def test_maps_off_16_byte_alignment_take_the_element_path(kernels):
    first, second = maps((1, 2, 19, 64), np.float16)
    kernels.offset = 2
    try:
        pooled = kernels.corner_pool(first, second, "top_left")
        with pytest.raises(LaunchError):
            kernels.corner_pool(first, second, "top_left", "channels_last_8")
    finally:
        kernels.offset = 0
    assert_same_bits_or_nan(pooled, oracles.corner_pool(first, second, "top_left"))


def test_the_result_does_not_depend_on_the_order_of_threads(kernels):
    shape = (1, 8, 40, 72)
    first, second = maps(shape, np.float16, seed=3)
    for seed in (0, 1, 2, 3):
        for layout in ("planes", "channels_last_8"):
            kernels.configure(seed=seed)
            pooled = kernels.corner_pool(first, second, "top_left", layout)
            assert_same_bits_or_nan(pooled, oracles.corner_pool(first, second, "top_left"))
    kernels.configure()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 70), st.integers(1, 300)),
    dtype=st.sampled_from(TYPES),
    corner=st.sampled_from(CORNERS),
    seed=st.integers(0, 5),
)
def test_any_shape_in_any_thread_order_matches_the_oracle(emulated, shape, dtype, corner, seed):
    emulated.configure(seed=seed)
    first, second = maps(shape, dtype, seed)
    assert_same_bits_or_nan(emulated.corner_pool(first, second, corner), oracles.corner_pool(first, second, corner))
    emulated.configure()


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": (1, 1, 0, 4)},
        {"shape": (1, 1, 4, 1025)},
        {"shape": (-1, 1, 4, 4)},
        {"shape": (1, 1, 4, 4), "layout": "channels_last_8"},  # float32 has no such layout
    ],
)
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, arguments):
    room = emulated.put(np.zeros(64, np.float32))
    with pytest.raises(LaunchError) as refused:
        emulated.launchers.corner_pool(room, room, room, corner="top_left", type="float32", **arguments)
    assert refused.value.code == 1


def test_an_empty_batch_is_no_error_and_writes_nothing(kernels):
    assert kernels.corner_pool(*maps((0, 4, 8, 8), np.float32), "top_left").size == 0
