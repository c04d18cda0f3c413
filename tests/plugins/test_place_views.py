"""The placing kernel against preprocess.place_on_canvas, which is OpenCV: the same bits."""

import cv2
import numpy as np
import oracles_placing
import pytest
from emulated_placing import own, place
from hypothesis import given, settings
from hypothesis import strategies as st
from placing_rig import needs_opencv_bits

from cornernet.plugins.launchers import SCALINGS, LaunchError, View

pytestmark = needs_opencv_bits

SIDES = st.integers(1, 70)
LYING = {name: st.tuples(SIDES, SIDES) for name in ("image", "resized", "size")} | {
    "top": st.integers(-40, 60),
    "mirrored": st.booleans(),
}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def view_of(image, resized, *, top=0, left=0, shown=None, mirrored=0, scaling=0, pixels=0, **strides) -> dict:
    names = ("rows", "columns", "resized_rows", "resized_columns", "shown_rows", "shown_columns")
    sides = dict(zip(names, (*image.shape[:2], *resized, *(shown or resized))))
    return dict(pixels=pixels, top=top, left=left, mirrored=mirrored, scaling=scaling, **sides, **strides)


def resized_by_opencv(image, resized, area):
    if image.shape[:2] == resized:
        return image
    method = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    return cv2.resize(image, resized[::-1], interpolation=method).reshape(*resized, 3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(image=st.tuples(SIDES, SIDES), resized=st.tuples(SIDES, SIDES), area=st.booleans(), factor=st.integers(1, 4))
def test_the_oracle_is_opencv(image, resized, area, factor):
    pixels = noise(*image)
    np.testing.assert_array_equal(
        oracles_placing.resize(pixels, resized, areas=area), resized_by_opencv(pixels, resized, area)
    )
    pixels = noise(resized[0] * factor, resized[1] * factor)
    np.testing.assert_array_equal(
        oracles_placing.resize(pixels, resized, areas=area), resized_by_opencv(pixels, resized, area)
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(image=st.tuples(SIDES, SIDES), resized=st.tuples(SIDES, SIDES), area=st.booleans(), seed=st.integers(0, 9))
def test_any_size_is_scaled_to_the_bits_of_opencv(emulated, image, resized, area, seed):
    pixels = noise(*image, seed)
    (canvas,) = place(emulated, pixels, [view_of(pixels, resized, scaling=int(area))], resized)
    np.testing.assert_array_equal(canvas, resized_by_opencv(pixels, resized, area))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(resized=st.tuples(st.integers(1, 20), st.integers(1, 20)), down=st.integers(1, 4), across=st.integers(1, 4))
@pytest.mark.parametrize("area", [0, 1])
def test_whole_factors_are_scaled_to_the_bits_of_opencv(emulated, resized, down, across, area):
    pixels = noise(resized[0] * down, resized[1] * across)
    (canvas,) = place(emulated, pixels, [view_of(pixels, resized, scaling=area)], resized)
    np.testing.assert_array_equal(canvas, resized_by_opencv(pixels, resized, area))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**LYING, left=st.integers(-40, 60), cut=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_it_lies_where_it_was_asked_for_and_fill_around_it(emulated, image, resized, size, top, left, cut, mirrored):
    pixels = noise(*image)
    shown = (max(0, resized[0] - cut[0]), max(0, resized[1] - cut[1]))
    view = view_of(pixels, resized, top=top, left=left, shown=shown, mirrored=int(mirrored))
    (canvas,) = place(emulated, pixels, [view], size, fill=(1, 2, 3))
    wanted = np.empty((*size, 3), np.uint8)
    wanted[:] = (1, 2, 3)
    content = resized_by_opencv(pixels, resized, area=False)
    for y in range(max(0, top), min(size[0], top + shown[0])):
        for x in range(max(0, left), min(size[1], left + shown[1])):
            wanted[y, x] = content[y - top, x - left]
    np.testing.assert_array_equal(canvas, wanted[:, ::-1] if mirrored else wanted)


def test_every_order_of_rows_pixels_and_channels_is_read_as_it_lies(kernels):
    whole = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    planes = np.ascontiguousarray(whole.transpose(2, 0, 1))
    orders = {
        "crop": (whole, whole[5:25, 7:37, :3]),
        "rgb": (whole, whole[5:25, 7:37, 2::-1]),
        "upside down": (whole, whole[25:5:-1, 37:7:-1, 1:]),
        "every second": (whole, whole[::2, ::3, :3]),
        "planes": (planes, planes[:3, 5:25, 7:37].transpose(1, 2, 0)),
    }
    for name, (memory, image) in orders.items():
        first = image.__array_interface__["data"][0] - memory.__array_interface__["data"][0]
        strides = dict(zip(("row_stride", "pixel_stride", "channel_stride"), image.strides))
        for resized, area in (((20, 30), 0), ((17, 31), 0), ((7, 11), 1), (image.shape[:2], 0)):
            view = view_of(image, resized, scaling=area, pixels=first, **strides)
            (canvas,) = place(kernels, memory, [view], resized)
            wanted = resized_by_opencv(np.ascontiguousarray(image), resized, area)
            np.testing.assert_array_equal(canvas, wanted, err_msg=name)


def test_a_batch_of_more_views_than_a_launch_takes_is_written_in_order(kernels):
    images = np.stack([noise(9, 13, seed) for seed in range(70)])
    views = [
        view_of(image, (6 + number % 5, 9 + number % 7), top=number % 3, left=1, pixels=number * image.size)
        for number, image in enumerate(images)
    ]
    canvases = place(kernels, images, views, (34, 35), fill=(9, 8, 7))
    for canvas, image, view in zip(canvases, images, views):
        resized = view["resized_rows"], view["resized_columns"]
        content = resized_by_opencv(image, resized, area=False)
        top = view["top"]
        np.testing.assert_array_equal(canvas[top : top + resized[0], 1 : 1 + resized[1]], content)
        assert (canvas[top + resized[0] :] == (9, 8, 7)).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(image=st.tuples(SIDES, SIDES), resized=st.tuples(SIDES, SIDES), seed=st.integers(0, 9))
def test_levels_between_whole_ones_are_those_of_opencv_in_floats_and_rounded_to_even(emulated, image, resized, seed):
    pixels = noise(*image, seed)
    view = view_of(pixels, resized, scaling=SCALINGS["bilinear_floats"])
    (levels,) = place(emulated, pixels, [view], resized, dtype=np.float32, whole=False)
    np.testing.assert_array_equal(levels, oracles_placing.bilinear_floats(pixels, resized))
    opencv = cv2.resize(pixels.astype(np.float32), resized[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(levels, opencv.reshape(*resized, 3), rtol=0, atol=2e-3)  # where it has IPP: 3e-5
    (rounded,) = place(emulated, pixels, [view], resized, dtype=np.float32)
    np.testing.assert_array_equal(rounded, np.rint(levels))
    (whole,) = place(emulated, pixels, [view], resized)
    np.testing.assert_array_equal(whole, rounded)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**LYING, area=st.booleans(), whole=st.booleans())
def test_canvases_of_floats_hold_what_those_of_uint8_do(emulated, image, resized, size, top, mirrored, area, whole):
    pixels = noise(*image)
    view = view_of(pixels, resized, top=top, left=3, mirrored=int(mirrored), scaling=int(area))
    (wanted,) = place(emulated, pixels, [view], size, fill=(1, 2, 3))
    (canvas,) = place(emulated, pixels, [view], size, fill=(1, 2, 3), dtype=np.float32, whole=whole)
    np.testing.assert_array_equal(canvas, wanted)


def test_along_a_single_row_the_kernel_is_more_exact_than_opencv(emulated):
    row = noise(1, 5000)
    view = view_of(row, (1, 255), scaling=SCALINGS["bilinear_floats"])
    (levels,) = place(emulated, row, [view], (1, 255), dtype=np.float32, whole=False)
    at = (np.arange(255) + 0.5) * (5000 / 255) - 0.5
    first = at.astype(int)
    exact = row[0, first] + (row[0, first + 1].astype(float) - row[0, first]) * (at - first)[:, None]
    np.testing.assert_allclose(levels[0], exact, rtol=0, atol=3.1e-5)
    opencv = cv2.resize(row.astype(np.float32), (255, 1), interpolation=cv2.INTER_LINEAR)
    assert np.abs(opencv[0] - exact).max() <= 0.06


def test_a_batch_of_more_canvases_of_floats_than_a_launch_takes_is_written_in_order(emulated):
    images = np.stack([noise(9, 13, seed) for seed in range(70)])
    views = [
        view_of(image, (6, 10), scaling=SCALINGS["bilinear_floats"], pixels=number * image.size)
        for number, image in enumerate(images)
    ]
    canvases = place(emulated, images, views, (6, 10), dtype=np.float32, whole=False)
    for canvas, image in zip(canvases, images):
        np.testing.assert_array_equal(canvas, oracles_placing.bilinear_floats(image, (6, 10)))


@pytest.mark.slow
@pytest.mark.parametrize("image", [(480, 640), (1080, 1920), (1024, 1024), (1, 9000), (333, 500)])
def test_pictures_of_real_sizes_are_scaled_to_the_bits_of_opencv(emulated, image):
    pixels = noise(*image)
    factor = min(255 / image[0], 255 / image[1])
    resized = tuple(max(1, round(side * factor)) for side in image)
    for area in (0, 1):
        (canvas,) = place(emulated, pixels, [view_of(pixels, resized, scaling=area)], (255, 255))
        content = resized_by_opencv(pixels, resized, area)
        np.testing.assert_array_equal(canvas[: resized[0], : resized[1]], content)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixels": None},
        {"rows": 0},
        {"columns": -1},
        {"resized_rows": 0},
        {"shown_columns": 11},
        {"shown_rows": -1},
        {"rows": 1 << 25},
        {"top": -(2**31)},
        {"scaling": -1},
        {"scaling": 3},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, wrong):
    right = view_of(noise(10, 10), (10, 10)) | {"pixels": 64}
    with pytest.raises(LaunchError):
        emulated.launchers.place_views([View(**right | wrong)], 64, (10, 10), (0, 0, 0))
    with pytest.raises(LaunchError):
        emulated.launchers.place_float_views([View(**right | wrong)], 64, (10, 10), (0, 0, 0), whole=True)
    for size in ((0, 10), (10, -1)):
        with pytest.raises(LaunchError):
            emulated.launchers.place_views([View(**right)], 64, size, (0, 0, 0))
    with pytest.raises(LaunchError):
        emulated.launchers.place_views([View(**right)], 0, (10, 10), (0, 0, 0))
    emulated.launchers.place_views([], 0, (10, 10), (0, 0, 0))  # nothing to do


def test_whose_memory_an_address_is(emulated):
    memory = np.zeros(100, np.uint8)
    address = memory.ctypes.data
    assert emulated.launchers.device_of(address) is None
    own(emulated, address + 10, 20, device=1)
    assert [emulated.launchers.device_of(address + at) for at in (9, 10, 29, 30)] == [None, 1, 1, None]
    own(emulated, 0, 0)
    assert emulated.launchers.device_of(address + 10) is None
