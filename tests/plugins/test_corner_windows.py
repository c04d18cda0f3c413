"""Window kernel against the oracle: the bits of the map, in every type and layout, zeros beyond the border."""

import ml_dtypes
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.plugins.launchers import LaunchError

TYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
CASES = [(dtype, "planes") for dtype in TYPES] + [(dtype, "channels_last_8") for dtype in TYPES[1:]]


def any_bits(shape: tuple[int, ...], dtype: object, seed: int = 0) -> np.ndarray:
    """Every kind of number, NaN with all their payloads included."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).view(dtype).reshape(shape)


def assert_windows_match(kernels, features: np.ndarray, cells: np.ndarray, size: int, layout: str) -> None:
    got = kernels.corner_windows(features, cells, size, layout)
    expected = oracles.corner_windows(features, cells, size)
    bits = f"u{features.itemsize}"
    assert np.array_equal(np.ascontiguousarray(got[0]).view(bits), expected[0].view(bits))
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[2], expected[2])


@pytest.mark.parametrize(("dtype", "layout"), CASES)
@pytest.mark.parametrize(
    ("shape", "slots", "size"),
    [
        ((1, 1, 1, 1), 1, 3),
        ((2, 8, 5, 7), 40, 3),  # cells at every border
        ((1, 70, 4, 6), 10, 3),  # more channels than a block has, and no multiple of 8
        ((2, 130, 3, 3), 9, 1),
        ((1, 9, 6, 5), 12, 5),
    ],
)
def test_windows_hold_the_bits_of_the_map(kernels, shape, slots, size, dtype, layout):
    images, _, height, width = shape
    cells = np.random.default_rng(1).integers(0, height * width, (images, slots), np.int32)
    cells[0, 0], cells[-1, -1] = 0, height * width - 1
    for seed in (0, 1, 2):
        kernels.configure(seed=seed)
        assert_windows_match(kernels, any_bits(shape, dtype), cells, size, layout)
    kernels.configure()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 80), st.integers(1, 9), st.integers(1, 9)),
    slots=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5, 7]),
    case=st.sampled_from(CASES),
    seed=st.integers(0, 5),
)
def test_any_shape_of_map_and_window_matches_the_oracle(emulated, shape, slots, size, case, seed):
    cells = np.random.default_rng(seed).integers(0, shape[2] * shape[3], (shape[0], slots), np.int32)
    assert_windows_match(emulated, any_bits(shape, case[0], seed), cells, size, case[1])


@pytest.mark.parametrize("layout", ["planes", "channels_last_8"])
def test_a_cell_outside_the_map_reads_nothing_outside_it(emulated, layout):
    """Which the undefined-behaviour sanitizer does not see: the memory around the map is poisoned with a pattern."""
    features = np.ones((1, 8, 4, 4), np.float16)
    cells = np.array([[-1, -100, 16, 400, -(2**31), 2**31 - 1]], np.int32)
    windows = emulated.corner_windows(features, cells, 3, layout)[0]
    assert set(np.unique(windows).tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 2},
        {"size": 9},
        {"slots": 0},
        {"shape": (1, 0, 4, 4)},
        {"shape": (1, 8, 2**16, 2**16)},
        {"layout": "channels_last_8"},  # float32 has no such layout
    ],
)
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, arguments):
    room = emulated.put(np.zeros(64, np.float32))
    usual = {"shape": (1, 8, 4, 4), "slots": 3, "size": 3, "type": "float32"} | arguments
    with pytest.raises(LaunchError) as refused:
        emulated.launchers.corner_windows(room, room, room, room, room, usual.pop("shape"), usual.pop("slots"), **usual)
    assert refused.value.code == 1


def test_an_empty_batch_is_no_error(kernels):
    features, cells = np.zeros((0, 8, 4, 4), np.float32), np.zeros((0, 5), np.int32)
    assert all(each.size == 0 for each in kernels.corner_windows(features, cells, 3))
