"""Targets: the official loader's numbers, and the definition in plain loops."""

import numpy as np
import oracles_training as oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.data.targets import CornerTargets, corner_targets, gaussian_kernel, gaussian_radius

GOLDEN_FIELDS = ("tl_heat", "br_heat", "tl_regr", "br_regr", "tl_tag_ind", "br_tag_ind", "tag_mask")
GOLDEN_FILES = {
    "targets_iou0.3": {"radius": "object", "min_overlap": 0.3},
    "targets_iou0.7": {"radius": "object", "min_overlap": 0.7},
    "targets_nobump": {"radius": "none"},
    "targets_fixed_radius2": {"radius": "fixed"},
    "targets_squeeze_out64_iou0.3": {"radius": "object", "min_overlap": 0.3},
}


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_targets_equal_the_official_loaders(golden, name):
    file = golden / "c_targets" / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"needs ../shared/golden/c_targets/{name}.npz, which is not there")
    data = dict(np.load(file))
    for image in range(4):
        boxes = data[f"boxes_511_{image}"]
        targets = corner_targets(
            boxes[:, :4],
            boxes[:, 4].astype(int) - 1,
            num_classes=80,
            input_size=(511, 511),
            map_size=data["tl_heat"].shape[2:],
            **GOLDEN_FILES[name],
        )
        for field, found, expected in zip(CornerTargets._fields, targets, (data[key][image] for key in GOLDEN_FIELDS)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=f"{field} of image {image}")


def test_radii_equal_the_official_table(golden):
    for height, width, overlap, radius, whole, *_ in np.load(golden / "c_targets" / "radius_table.npz")["table"]:
        found = gaussian_radius(height, width, overlap)
        assert found == pytest.approx(radius, abs=1e-9)
        assert max(0, int(found)) == whole


def test_gaussians_equal_the_official_kernels(golden):
    kernels = np.load(golden / "c_targets" / "gaussian_kernels.npz")
    for name in kernels:
        np.testing.assert_allclose(gaussian_kernel(int(name[1:])), kernels[name], rtol=1e-6, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 200), st.floats(1, 200), st.floats(0.1, 0.9))
def test_the_radius_is_the_largest_displacement_that_keeps_the_overlap(height, width, overlap):
    assert gaussian_radius(height, width, overlap) == pytest.approx(
        oracles.gaussian_radius(height, width, overlap), rel=1e-6, abs=1e-6
    )


boxes_px = st.tuples(st.floats(-20, 130), st.floats(-20, 100), st.floats(0.1, 120), st.floats(0.1, 120))


@settings(max_examples=40, deadline=None)
@given(
    objects=st.lists(st.tuples(boxes_px, st.integers(0, 2)), max_size=6),
    map_size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    radius=st.sampled_from(["object", "fixed", "none"]),
)
def test_targets_equal_the_oracle_on_any_boxes_and_maps(objects, map_size, radius):
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in objects], np.int64)
    input_size = (96, 128)
    found = corner_targets(
        boxes, labels, num_classes=3, input_size=input_size, map_size=map_size, radius=radius, max_objects=8
    )
    cells = boxes.astype(np.float64) * ([map_size[1] / 128, map_size[0] / 96] * 2)
    sides = np.ceil(cells[:, 2:] - cells[:, :2])
    radii = {
        "object": [int(gaussian_radius(height, width)) for width, height in sides],
        "fixed": [2] * len(boxes),
        "none": [0] * len(boxes),
    }[radius]
    expected = oracles.corner_targets(
        boxes, labels, num_classes=3, input_size=input_size, map_size=map_size, radii=radii, max_objects=8
    )
    for field, one, other in zip(CornerTargets._fields, found, expected):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=field)


def test_cell_plus_offset_gives_the_corner_back():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 511, (20, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    targets = corner_targets(boxes, np.zeros(20, int), num_classes=1, input_size=(511, 511), map_size=(128, 128))
    row, column = np.divmod(targets.bottom_right_cell[:20], 128)
    found = (np.stack([column, row], axis=1) + targets.bottom_right_offset[:20]) * 511 / 128
    np.testing.assert_allclose(found, boxes[:, 2:], atol=1e-3)


def test_a_box_on_the_far_border_lies_in_the_last_cell_with_an_offset_of_one():
    targets = corner_targets([[0, 0, 128, 64]], [0], num_classes=1, input_size=(64, 128), map_size=(16, 32))
    assert targets.bottom_right_cell[0] == 15 * 32 + 31
    assert targets.bottom_right_offset[0].tolist() == [1, 1]
    assert targets.bottom_right_heatmap[0, 15, 31] == 1


def test_the_largest_boxes_get_the_rows_when_there_are_too_many():
    sides = np.random.default_rng(1).permutation(np.arange(1, 201))
    boxes = np.stack([np.zeros(200), np.zeros(200), sides, sides], axis=1)
    targets = corner_targets(boxes, np.zeros(200, int), num_classes=1, input_size=(256, 256), map_size=(256, 256))
    assert targets.mask.all() and len(targets.mask) == 128
    assert targets.bottom_right_cell.tolist() == [side * 257 for side in sides if side > 72]
    assert targets.bottom_right_heatmap[0, 1, 1] == 1


def test_two_objects_of_one_class_in_one_cell_share_the_peak_but_not_the_row():
    boxes = [[8, 8, 40, 40], [9, 9, 60, 60]]
    targets = corner_targets(boxes, [1, 1], num_classes=2, input_size=(64, 64), map_size=(16, 16))
    assert (targets.top_left_heatmap == 1).sum() == 1
    assert targets.mask.sum() == 2
    assert targets.top_left_cell[0] == targets.top_left_cell[1]


def test_an_image_without_objects_has_empty_targets():
    targets = corner_targets(np.zeros((0, 4)), np.zeros(0, int), num_classes=2, input_size=(64, 64), map_size=(16, 16))
    assert not any(np.asarray(array).any() for array in targets)
