"""Soft-NMS in torch, on any device, against what the host does with the same rows: the same boxes in the same order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_rows import CARD, PLACEMENTS, found

from cornernet.engine import native
from cornernet.engine.backends.finishing import NmsRules
from cornernet.engine.geometry import place_original
from cornernet.engine.protocol import Protocol
from cornernet.engine.results import postprocess
from cornernet.engine.results.device_rules import placement_row
from cornernet.engine.results.postprocess import Suppression
from cornernet.trainer.deploy.final_boxes import corner_soft_nms, image_boxes


def assert_final(raw, placements, suppression: Suppression, protocol: Protocol) -> None:
    table = torch.tensor([placement_row(each, protocol) for each in placements], dtype=torch.float32)
    rules = NmsRules(
        suppression.max_per_image,
        suppression.method,
        suppression.sigma,
        suppression.iou_threshold,
        suppression.lowest_score,
        protocol.iou_pixel,
        protocol.drop_empty,
    )
    rows = [torch.from_numpy(values) for values in (raw.boxes, raw.scores, raw.labels, raw.counts)]
    final = corner_soft_nms(*rows, table, rules)
    for image, placement in enumerate(placements):
        expected = postprocess.to_results([(raw, image, placement)], suppression, protocol)
        count = int(final.counts[image])
        assert count == len(expected.scores)
        np.testing.assert_array_equal(final.labels[image, :count], expected.labels)
        np.testing.assert_allclose(final.scores[image, :count], expected.scores, rtol=1e-5)
        np.testing.assert_allclose(final.boxes[image, :count], expected.boxes, rtol=1e-5, atol=1e-5)
        assert not final.boxes[image, count:].any()
        assert (final.scores[image, count:] == -1).all() and (final.labels[image, count:] == -1).all()


@pytest.fixture(autouse=True, params=["native", "numpy"])
def host(request, monkeypatch):
    """Both ways of the host: compiled, and the definition in numpy."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "load", lambda: None)
    elif native.load() is None:
        pytest.skip("needs libcornernet_native: cmake -B build && cmake --build build")


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 60),
    limit=st.integers(1, 30),
    levels=st.sampled_from([0, 4]),
    classes=st.sampled_from([1, 3]),
    method=st.sampled_from(["gaussian", "linear", "hard", None]),
    min_score=st.sampled_from([0.001, 0.3]),
    drop_empty=st.booleans(),
    iou_pixel=st.integers(0, 1),
    clip=st.booleans(),
    seed=st.integers(0, 9**6),
)
def test_any_rows_end_as_on_the_host(
    rows, limit, levels, classes, method, min_score, drop_empty, iou_pixel, clip, seed
):
    raw = found(3, rows, levels=levels, classes=classes, seed=seed)
    suppression = Suppression(method=method, min_score=min_score, max_per_image=limit)
    protocol = Protocol("any", drop_empty=drop_empty, iou_pixel=iou_pixel, clip_far_side=clip)
    assert_final(raw, PLACEMENTS, suppression, protocol)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    scale=st.floats(0.05, 1.4),
    nominal=st.booleans(),
    mirrored=st.booleans(),
    axis=st.sampled_from(["training", "edges", "image"]),
)
def test_boxes_go_back_to_the_image_as_on_the_host(height, width, scale, nominal, mirrored, axis):
    protocol = Protocol("any", nominal_scale=nominal, mirror_axis=axis)
    placement = place_original((height, width), CARD, protocol, scale=scale)
    placement = placement.mirror("pixels") if mirrored else placement
    boxes = found(1, 20, levels=0, classes=1, seed=height).boxes
    row = torch.tensor([placement_row(placement, protocol)], dtype=torch.float32)
    got = image_boxes(torch.from_numpy(boxes), row)[0].numpy()
    if nominal:  # a scale that float32 rounds
        np.testing.assert_allclose(got, placement.to_image(boxes[0], protocol), rtol=1e-6)
    else:
        np.testing.assert_array_equal(got, placement.to_image(boxes[0], protocol))


def test_scores_that_are_nan_and_counts_beyond_the_rows_are_left_out():
    raw = found(1, 20, levels=0, classes=1, seed=5)
    raw.scores[0, 3] = np.nan
    row = torch.tensor([placement_row(PLACEMENTS[0], Protocol("any"))], dtype=torch.float32)
    rows = [torch.from_numpy(values) for values in (raw.boxes, raw.scores, raw.labels, np.array([99], np.int32))]
    final = corner_soft_nms(*rows, row, NmsRules(30, None, 0.5, 0.5, 0.001, 0, False))
    assert final.counts.tolist() == [19] and not final.scores.isnan().any()
