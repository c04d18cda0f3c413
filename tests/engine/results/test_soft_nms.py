"""Soft-NMS: the fast definition against slow loops, the in-place version against the official numbers."""

import numpy as np
import oracles_engine as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine.results import official_nms
from cornernet.engine.results import soft_nms as module
from cornernet.engine.results.soft_nms import soft_nms

METHODS = ("gaussian", "linear", "hard")


def candidates(seed, count, classes=3, spread=100.0, ties=False):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, spread, (count, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(0, 60, (count, 2))), axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    if ties:
        boxes, scores = boxes.round(-1), scores.round(1)
    return boxes, scores, rng.integers(0, classes, count).astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 60),
    classes=st.integers(1, 4),
    spread=st.sampled_from([1.0, 50.0, 500.0]),
    method=st.sampled_from(METHODS),
    limit=st.sampled_from([1, 7, 100]),
    ties=st.booleans(),
    block=st.sampled_from([1, 3, 256]),
)
def test_fast_soft_nms_takes_the_same_boxes_with_the_same_scores_as_the_loops(
    seed, count, classes, spread, method, limit, ties, block
):
    inputs = candidates(seed, count, classes, spread, ties)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)  # laziness must not show
        picked = soft_nms(*inputs, method=method, limit=limit)
    rows, scores = oracle.soft_nms(*inputs, method=method, limit=limit)
    np.testing.assert_array_equal(picked.rows, rows)
    np.testing.assert_array_equal(picked.scores, scores)
    np.testing.assert_array_equal(picked.boxes, inputs[0][rows])


@pytest.mark.parametrize("method", METHODS)
def test_one_run_over_all_classes_equals_separate_runs_cut_at_the_best_hundred(method):
    inputs = candidates(3, 150, classes=5)
    picked = soft_nms(*inputs, method=method, limit=40)
    rows, scores = oracle.soft_nms_per_class(*inputs, method=method, limit=40)
    np.testing.assert_array_equal(picked.rows, rows)
    np.testing.assert_allclose(picked.scores, scores, rtol=2e-6)


def test_waiting_boxes_catch_up_to_the_last_bit():
    inputs = candidates(1, 1000, classes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 1000)
        eager = soft_nms(*inputs)
        patch.setattr(module, "_BLOCK", 13)
        lazy = soft_nms(*inputs)
    np.testing.assert_array_equal(eager.rows, lazy.rows)
    np.testing.assert_array_equal(eager.scores, lazy.scores)


def test_boxes_of_different_classes_never_weaken_each_other():
    box = np.array([[0, 0, 10, 10]] * 2, np.float32)
    picked = soft_nms(box, np.array([0.9, 0.8], np.float32), np.array([0, 1], np.int32))
    np.testing.assert_array_equal(picked.scores, np.float32([0.9, 0.8]))


def test_equal_boxes_of_one_class_decay_by_exp_of_minus_two():
    box = np.array([[0, 0, 10, 10]] * 2, np.float32)
    picked = soft_nms(box, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32), sigma=0.5)
    np.testing.assert_allclose(picked.scores, [0.9, 0.8 * np.exp(-2)], rtol=1e-6)


def test_without_a_method_the_best_boxes_are_kept_as_they_are():
    boxes, scores, labels = candidates(0, 30)
    picked = soft_nms(boxes, scores, labels, method=None, limit=5)
    np.testing.assert_array_equal(picked.rows, np.argsort(-scores, kind="stable")[:5])


def test_empty_boxes_and_no_boxes_give_no_warning_and_no_nan():
    with np.errstate(all="raise", under="ignore"):
        nothing = soft_nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
        points = soft_nms(np.zeros((3, 4), np.float32), np.full(3, 0.5, np.float32), np.zeros(3, np.int32))
    assert len(nothing.rows) == 0 and nothing.boxes.shape == (0, 4)
    assert len(points.rows) == 3 and np.isfinite(points.scores).all()


def test_a_score_that_is_not_a_number_is_never_taken():
    boxes, scores, labels = candidates(0, 5)
    scores[2] = np.nan
    assert 2 not in soft_nms(boxes, scores, labels).rows


def test_merging_moves_a_box_towards_those_it_weakens_by_their_corner_scores():
    boxes = np.array([[0, 0, 10, 10], [2, 2, 12, 12], [100, 100, 110, 110]], np.float32)
    scores = np.array([0.9, 0.5, 0.4], np.float32)
    corners = np.array([[0.8, 1.0], [0.4, 0.6], [0.4, 0.4]], np.float32)
    picked = soft_nms(boxes, scores, np.zeros(3, np.int32), corner_scores=corners, merge_exponent=2.0)
    overlap = 64 / 136
    share = (1 - np.exp(-(overlap**2) / 0.5)) ** 2
    low = 2 * 0.4 * share / (0.8 + 0.4 * share)
    high = (10 * 1.0 + 12 * 0.6 * share) / (1.0 + 0.6 * share)
    np.testing.assert_allclose(picked.boxes[0], [low, low, high, high], rtol=1e-5)
    np.testing.assert_array_equal(picked.boxes[picked.rows == 2], boxes[2:])


def golden_cases(golden):
    table = np.load(golden / "e_soft_nms" / "soft_nms.npz")
    for key in table:
        if ".soft_nms" in key and not key.endswith(".nkeep"):
            case, _, method, *option = key.split(".", 3)
            yield key, table[f"{case}.in"], table[key], int(table[f"{key}.nkeep"]), method, "".join(option)


def options_of(option):
    if option.startswith("sigma"):
        return {"sigma": float(option.removeprefix("sigma"))}
    return {"merge_exponent": float(option.removeprefix("exp"))} if option else {}


def test_in_place_soft_nms_rewrites_the_array_as_the_official_code_stale_rows_included(golden):
    seen = 0
    for key, rows, expected, count, method, option in golden_cases(golden):
        result = rows.copy()
        assert official_nms.soft_nms_in_place(result, method=method, **options_of(option)) == count, key
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-5, err_msg=key)
        seen += 1
    assert seen >= 60


def test_hard_suppression_keeps_the_boxes_of_the_official_nms(golden):
    table = np.load(golden / "e_soft_nms" / "soft_nms.npz")
    for key in (key for key in table if key.endswith(".nms_0.5.keep")):
        rows = table[key.removesuffix(".nms_0.5.keep") + ".in"]
        picked = soft_nms(
            rows[:, :4], rows[:, 4], np.zeros(len(rows), np.int32), method="hard", iou_pixel=1, min_score=0, limit=1000
        )
        # By value: between equal boxes of equal score it takes the last, we the first.
        np.testing.assert_array_equal(rows[picked.rows, :5], rows[table[key], :5], err_msg=key)


def test_both_soft_nms_agree_with_the_official_rows_that_are_real(golden):
    for key, rows, expected, count, method, option in golden_cases(golden):
        if "merge" in key or "lowscore" in key:  # where weak boxes that overlap nothing are kept
            continue
        picked = soft_nms(
            rows[:, :4], rows[:, 4], np.zeros(len(rows), np.int32), method=method, iou_pixel=1, limit=1000,
            **options_of(option),
        )  # fmt: skip
        assert len(picked.rows) == count, key
        np.testing.assert_allclose(picked.scores, expected[:count, 4], atol=1e-5, err_msg=key)
        np.testing.assert_allclose(picked.boxes, expected[:count, :4], err_msg=key)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 40),
    method=st.sampled_from(METHODS),
    exponent=st.sampled_from([None, 8.0, 10.0]),
    spread=st.sampled_from([5.0, 100.0]),
)
def test_in_place_soft_nms_equals_the_official_loop(seed, count, method, exponent, spread):
    boxes, scores, _ = candidates(seed, count, spread=spread)
    corners = np.random.default_rng(seed + 1).uniform(0.1, 1, (count, 2))
    rows = np.column_stack((boxes, scores, corners)).astype(np.float32)
    fast, slow = rows.copy(), rows.copy()
    real = official_nms.soft_nms_in_place(fast, method=method, merge_exponent=exponent)
    assert real == oracle.soft_nms_in_place(slow, method=method, exponent=exponent)
    np.testing.assert_allclose(fast, slow, rtol=1e-6, atol=1e-5)


def test_corner_scores_follow_their_box_when_the_quirk_is_off():
    boxes, scores, _ = candidates(5, 20, spread=20)
    rows = np.column_stack((boxes, scores, scores, scores)).astype(np.float32)
    official_nms.soft_nms_in_place(rows, method="hard", move_corner_scores=True)
    original = {tuple(box): score for box, score in zip(boxes.tolist(), scores.tolist())}
    assert all(original[tuple(row[:4])] == row[5] for row in rows.tolist())
