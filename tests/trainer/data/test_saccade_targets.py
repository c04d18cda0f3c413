"""Targets of a CornerNet-Saccade: the official sampling function's, and the definition in plain loops."""

import numpy as np
import oracles_saccade_training as oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.data.crop import CropBoxes, CropConfig, has_corners
from cornernet.trainer.data.saccade_targets import attention_targets, saccade_targets

SIDE, BOUNDS, STRIDES = 255, (96, 32), (16, 8, 4)


def golden_file(golden, name):
    file = golden / "h_saccade" / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"needs ../shared/golden/h_saccade/{name}.npz, which is not there")
    return dict(np.load(file))


def targets_of(data, image):
    """What is built of the official boxes of one image of a golden file."""
    boxes = data[f"boxes_{image}"]
    cut = CropBoxes(boxes[:, :4], np.arange(len(boxes)), data[f"visible_{image}"])
    return saccade_targets(
        boxes[:, :4],
        boxes[:, 4].astype(int) - 1,
        has_corners(cut, BOUNDS, CropConfig()),
        num_classes=80,
        side=SIDE,
        stride=4,
        attention_strides=STRIDES,
        bounds=BOUNDS,
    )


@pytest.mark.parametrize("name", [f"targets_losses_{index}" for index in range(4)])
def test_targets_equal_the_official_ones(golden, name):
    data = golden_file(golden, name)
    for image in range(len(data["order"])):
        found = targets_of(data, image)
        expected = {
            "tl_heat": found.corners.top_left_heatmap,
            "br_heat": found.corners.bottom_right_heatmap,
            "tl_valid": found.top_left_weight,
            "br_valid": found.bottom_right_weight,
            "tl_regr": found.corners.top_left_offset,
            "br_regr": found.corners.bottom_right_offset,
            "tl_tag_ind": found.corners.top_left_cell,
            "br_tag_ind": found.corners.bottom_right_cell,
            "tag_mask": found.corners.mask,
            "att0": found.attention.large,
            "att1": found.attention.medium,
            "att2": found.attention.small,
        }
        for key, array in expected.items():
            np.testing.assert_allclose(array, data[key][image], atol=2e-5, err_msg=f"{key} of image {image}")


def test_attention_equals_the_official_masks(golden):
    data = golden_file(golden, "attention_masks")
    for image in range(6):
        found = attention_targets(data[f"boxes_{image}"][:, :4], side=SIDE, strides=STRIDES, bounds=BOUNDS)
        for level, wanted in enumerate(found):
            np.testing.assert_array_equal(wanted[0], data[f"att{level}_{image}"])


@settings(max_examples=40, deadline=None)
@given(
    objects=st.lists(
        st.tuples(*[st.integers(0, 4 * 127)] * 4, st.integers(0, 2), st.booleans()).filter(
            lambda o: o[0] != o[2] and o[1] != o[3]
        ),
        max_size=6,
    )
)
def test_targets_equal_the_oracle_on_any_boxes(objects):
    boxes = np.array([o[:4] for o in objects], np.float64).reshape(-1, 2, 2) / 4
    boxes = np.sort(boxes, axis=1).reshape(-1, 4).astype(np.float32)
    labels, counts = np.array([o[4] for o in objects], int), np.array([o[5] for o in objects], bool)
    shape = {"num_classes": 3, "side": 127, "stride": 4, "attention_strides": STRIDES, "bounds": (48, 16)}
    found = saccade_targets(boxes, labels, counts, max_objects=8, **shape)
    weights, attention = oracles.saccade_targets(boxes, labels, counts, **shape)
    np.testing.assert_array_equal(found.top_left_weight, weights[0])
    np.testing.assert_array_equal(found.bottom_right_weight, weights[1])
    for wanted, expected in zip(found.attention, attention, strict=True):
        assert wanted.dtype == np.float32
        np.testing.assert_array_equal(wanted[0], expected)
    assert found.corners.mask.sum() == counts.sum()


@pytest.mark.parametrize(
    ("longer", "levels"),
    [(31.9, "small"), (32, "medium small"), (95.9, "medium"), (96, "large medium"), (254, "large")],
)
def test_an_object_of_exactly_a_bound_is_on_both_levels(longer, levels):
    box = np.array([[0, 0, longer, 10]], np.float32)
    found = attention_targets(box, side=SIDE, strides=STRIDES, bounds=BOUNDS)
    assert " ".join(name for name, wanted in found._asdict().items() if wanted.any()) == levels


def test_attention_is_asked_for_objects_whose_corners_are_not_learnt():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    found = saccade_targets(boxes, np.array([1]), np.array([False]), num_classes=2, side=SIDE, stride=4,
                            attention_strides=STRIDES, bounds=BOUNDS)  # fmt: skip
    assert found.attention.small[0, 1, 1] == 1
    assert not found.corners.mask.any() and not found.corners.top_left_heatmap.any()
    assert found.top_left_weight[1, 0, 0] == 0 and found.top_left_weight[0].all()
