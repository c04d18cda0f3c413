"""Soft-NMS kernel against what the host does with the same rows: the same boxes in the same order."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_rows import PLACEMENTS, found

from cornernet.engine import native
from cornernet.engine.backends import RawDetections
from cornernet.engine.protocol import Protocol
from cornernet.engine.results import postprocess
from cornernet.engine.results.device_rules import placement_row
from cornernet.engine.results.postprocess import Suppression
from cornernet.plugins.launchers import LaunchError


def assert_final(kernels, raw: RawDetections, placements, suppression: Suppression, protocol: Protocol) -> None:
    table = np.array([placement_row(each, protocol) for each in placements], np.float32)
    boxes, scores, labels, counts = kernels.corner_soft_nms(
        raw.boxes, raw.scores, raw.labels, raw.counts, table,
        limit=suppression.max_per_image, method=suppression.method, sigma=suppression.sigma,
        iou_threshold=suppression.iou_threshold, min_score=suppression.lowest_score, iou_pixel=protocol.iou_pixel,
        drop_empty=protocol.drop_empty,
    )  # fmt: skip
    for image, placement in enumerate(placements):
        expected = postprocess.to_results([(raw, image, placement)], suppression, protocol)
        count = counts[image]
        assert count == len(expected.scores)
        np.testing.assert_array_equal(labels[image, :count], expected.labels)
        np.testing.assert_allclose(scores[image, :count], expected.scores, rtol=1e-5)
        np.testing.assert_allclose(boxes[image, :count], expected.boxes, rtol=1e-5, atol=1e-5)
        assert not boxes[image, count:].any()
        assert (scores[image, count:] == -1).all() and (labels[image, count:] == -1).all()


@pytest.fixture(autouse=True, params=["native", "numpy"])
def host(request, monkeypatch):
    """Both ways of the host: compiled, and the definition in numpy."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "load", lambda: None)
    elif native.load() is None:
        pytest.skip("needs libcornernet_native: cmake -B build && cmake --build build")


@pytest.mark.parametrize("method", ["gaussian", "linear", "hard", None])
@pytest.mark.parametrize("protocol", [Protocol("any"), Protocol("any", iou_pixel=1, clip_far_side=False)])
def test_boxes_scores_and_order_are_those_of_the_host(kernels, method, protocol):
    raw = found(3, 70, levels=0, classes=2, seed=1)
    for seed in (0, 1, 2):
        kernels.configure(seed=seed)
        assert_final(kernels, raw, PLACEMENTS, Suppression(method=method, max_per_image=20), protocol)
    kernels.configure()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 90),
    limit=st.integers(1, 40),
    levels=st.sampled_from([0, 4]),
    classes=st.sampled_from([1, 3]),
    method=st.sampled_from(["gaussian", "linear", "hard", None]),
    min_score=st.sampled_from([0.001, 0.3]),
    drop_empty=st.booleans(),
    seed=st.integers(0, 9**6),
)
def test_any_rows_end_as_on_the_host(emulated, rows, limit, levels, classes, method, min_score, drop_empty, seed):
    emulated.configure(seed=seed % 4)
    raw = found(3, rows, levels=levels, classes=classes, seed=seed)
    suppression = Suppression(method=method, min_score=min_score, max_per_image=limit)
    assert_final(emulated, raw, PLACEMENTS, suppression, Protocol("any", drop_empty=drop_empty))
    emulated.configure()


@pytest.mark.parametrize("rows", [1024, 1025, 2500])
def test_more_boxes_than_threads_are_all_looked_at(emulated, rows):
    raw = found(1, rows, levels=0, classes=3, seed=4)
    assert_final(emulated, raw, PLACEMENTS[:1], Suppression(max_per_image=6), Protocol("any"))


def test_nan_scores_and_counts_beyond_the_rows_are_left_out(emulated):
    raw = found(1, 20, levels=0, classes=1, seed=5)
    raw.scores[0, 3] = np.nan
    table = np.array([placement_row(PLACEMENTS[0], Protocol("any"))], np.float32)
    *_, counts = emulated.corner_soft_nms(*raw[:2], raw.labels, np.array([99]), table, limit=30, method=None)
    assert counts.tolist() == [19]


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 3841}, {"candidates": 0}, {"sigma": 0}, {"min_score": 0}, {"sigma": math.nan}]
)
def test_arguments_out_of_range_are_refused_before_any_launch(emulated, wrong):
    usual = {"candidates": 5, "limit": 3} | wrong
    with pytest.raises(LaunchError):
        emulated.launchers.corner_soft_nms([64] * 5, [64] * 4, 1, usual.pop("candidates"), **usual)
