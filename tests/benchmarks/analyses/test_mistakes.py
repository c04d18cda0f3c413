"""Figure 9: each kind of mistake from a scene made to show it, and none left over."""

from pathlib import Path

import numpy as np
import oracles_analyses as oracles
import pytest
from analysed_scene import CARD, random_network, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.benchmarks.analyses.mistakes import (
    FALSE,
    MISSED,
    Scene,
    box_iou,
    claim_objects,
    error_tables,
    find_errors,
)
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.shapes import generate_shapes

NETWORK = random_network()
ONE = truth([[8, 8, 40, 40]], [0])  # corners in cells (2, 2) and (10, 10)


def kinds(top_left, bottom_right, objects, threshold=0.3):
    seen = scene(top_left, bottom_right)
    found = NETWORK.detect(seen).above(threshold)
    mistakes = Scene(seen, objects, found, CARD.decoder, threshold=threshold).mistakes(Path("x.png"))
    return sorted((mistake.side, mistake.kind) for mistake in mistakes)


def test_a_found_object_is_no_mistake():
    assert kinds([(2, 2, 0, 0.9, 0)], [(10, 10, 0, 0.9, 0)], ONE) == []
    assert kinds([], [], truth([], [])) == []


@pytest.mark.parametrize(
    ("top_left", "bottom_right", "kind"),
    [
        ([], [(10, 10, 0, 0.9, 0)], "missed top-left corner"),
        ([(2, 2, 0, 0.9, 0)], [], "missed bottom-right corner"),
        ([], [], "missed both corners"),
        ([(2, 2, 0, 0.2, 0)], [(10, 10, 0, 0.2, 0)], "missed both corners"),  # too weak
        ([(2, 2, 1, 0.9, 0)], [(10, 10, 0, 0.9, 0)], "missed top-left corner"),  # of another class
        ([(5, 2, 0, 0.9, 0)], [(10, 10, 0, 0.9, 9)], "missed top-left corner"),  # three cells off
        ([(2, 2, 0, 0.9, 0)], [(10, 10, 0, 0.9, 9)], "wrong pair"),  # embeddings too far apart
    ],
)
def test_an_object_without_a_box_is_missed_for_the_right_reason(top_left, bottom_right, kind):
    assert kinds(top_left, bottom_right, ONE) == [("missed", kind)]


def test_the_right_place_with_the_wrong_class_is_one_mistake_on_either_side():
    found = kinds([(2, 2, 1, 0.9, 0)], [(10, 10, 1, 0.9, 0)], ONE)
    assert found == [("false", "wrong class"), ("missed", "wrong class")]


def test_corners_near_a_small_object_may_still_miss_it():
    small = truth([[8, 8, 16, 16]], [0])  # two cells wide; the box found is four cells wide: IoU 1/4
    found = kinds([(2, 2, 0, 0.9, 0)], [(6, 6, 0, 0.9, 0)], small)
    assert found == [("false", "one wrong corner"), ("missed", "missed bottom-right corner")]
    found = kinds([(1, 1, 0, 0.9, 0)], [(5, 5, 0, 0.9, 0)], small)
    assert found == [("false", "inaccurate corners"), ("missed", "inaccurate corners")]


def test_one_box_over_two_equal_objects_leaves_one_suppressed():
    twins = truth([[8, 8, 40, 40], [9, 9, 41, 41]], [0, 0])
    assert kinds([(2, 2, 0, 0.9, 0)], [(10, 10, 0, 0.9, 0)], twins) == [("missed", "suppressed")]


def test_corners_of_two_objects_joined_are_a_wrong_pair_on_both_sides():
    two = truth([[8, 8, 24, 24], [32, 32, 56, 56]], [0, 0])
    corners = [(2, 2, 0, 0.9, 0.0), (8, 8, 0, 0.9, 5.0)]
    ends = [(6, 6, 0, 0.9, 5.0), (14, 14, 0, 0.9, 0.0)]
    assert kinds(corners, ends, two) == [("false", "wrong pair"), ("missed", "wrong pair"), ("missed", "wrong pair")]


def test_false_boxes_with_one_corner_or_none():
    assert kinds([(2, 2, 0, 0.9, 0)], [(15, 15, 0, 0.9, 0)], ONE) == [
        ("false", "one wrong corner"),
        ("missed", "missed bottom-right corner"),
    ]
    assert kinds([(8, 8, 2, 0.9, 0)], [(15, 15, 2, 0.9, 0)], ONE) == [
        ("false", "background"),
        ("missed", "missed both corners"),
    ]


def test_a_second_box_over_a_claimed_object_is_a_duplicate():
    # Both pairs overlap the object by more than half; soft-NMS leaves the weaker one above a low threshold.
    top_left, bottom_right = [(2, 2, 0, 0.9, 0), (2, 4, 0, 0.8, 0)], [(10, 10, 0, 0.9, 0)]
    assert kinds(top_left, bottom_right, ONE, threshold=0.1) == [("false", "duplicate")]


def test_a_false_box_in_a_crowd_region_of_its_class_is_not_counted():
    crowd = truth([], [], [[0, 0, 64, 64]], [0])
    assert kinds([(2, 2, 0, 0.9, 0)], [(10, 10, 0, 0.9, 0)], crowd) == []
    assert kinds([(2, 2, 1, 0.9, 0)], [(10, 10, 1, 0.9, 0)], crowd) == [("false", "background")]


boxes = st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2, st.integers(0, 1)), max_size=7)


@settings(max_examples=60, deadline=None)
@given(boxes, boxes)
def test_claims_and_overlaps_equal_the_slow_reference(found, objects):
    def arrays(rows):
        table = np.array(rows, float).reshape(-1, 5)
        return np.hstack((table[:, :2], table[:, :2] + table[:, 2:4])), table[:, 4]

    (first, labels), (second, known) = arrays(found), arrays(objects)
    overlap = box_iou(first, second)
    for row, box in enumerate(first):
        for column, thing in enumerate(second):
            assert overlap[row, column] == pytest.approx(oracles.iou(box, thing))
    claimed = claim_objects(overlap, labels[:, None] == known[None])
    assert claimed.tolist() == oracles.claims(first, labels, second, known)


def test_on_a_data_set_the_numbers_add_up(tmp_path):
    data = load_coco(generate_shapes(tmp_path / "shapes", train=0, val=5, seed=2, size=(64, 64)), "val")
    errors = find_errors(NETWORK, data, threshold=0.05)
    assert errors.objects == sum(len(sample.boxes) for sample in data.samples) and errors.boxes > 0
    assert all(mistake.kind in (MISSED if mistake.side == "missed" else FALSE) for mistake in errors.mistakes)
    for table in error_tables(errors):
        numbers = [row[1] for row in table.rows]
        assert sum(numbers[:-1]) == numbers[-1] and table.rows[-1][2] == 1
    missed, false = error_tables(errors)
    assert missed.rows[0][1] == false.rows[0][1]  # every box that is right has found one object
