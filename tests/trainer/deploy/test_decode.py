"""The torch decoder against the definition (tests/oracles.py) and the official code's numbers."""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.deploy.decode import (
    Corners,
    attention_peaks,
    cell_size,
    corner_group,
    corner_peaks,
    corner_windows,
    reject_border,
)

# Few distinct values, so that ties and plateaus are common; the special ones are part of the definition.
LOGITS = np.array([-3.0, -0.5, -0.0, 0.0, 0.5, 2.0, np.nan, np.inf, -np.inf], np.float32)


def check_peaks(logits: np.ndarray, top_k: int, dtype: torch.dtype = torch.float32) -> None:
    tensor = torch.from_numpy(logits).to(dtype)
    expected = oracles.corner_peaks(tensor.float().numpy(), top_k)
    scores, labels, cells = corner_peaks(tensor, top_k)
    np.testing.assert_allclose(scores.numpy(), expected[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(labels.numpy(), expected[1])
    np.testing.assert_array_equal(cells.numpy(), expected[2])
    assert (scores.dtype, labels.dtype, cells.dtype) == (torch.float32, torch.int32, torch.int32)


def random_corners(rng: np.random.Generator, images: int, slots: int, classes: int = 2) -> tuple[np.ndarray, ...]:
    """Corners on a coarse grid of values: equal scores, equal coordinates and distances of exactly 0.5 all occur."""
    scores = rng.integers(0, 8, (images, slots)).astype(np.float32) / 8
    labels = rng.integers(-1, classes, (images, slots)).astype(np.int32)
    embeddings = rng.choice(np.array([-0.5, 0.0, 0.25, 0.5, 1.0, np.nan, np.inf], np.float32), (images, slots))
    x, y = (rng.choice(np.array([-0.5, 0, 1, 1.5, 3, np.nan, np.inf], np.float32), (images, slots)) for _ in range(2))
    return scores, labels, embeddings, x, y


def group(top_left, bottom_right, **settings):
    to_torch = lambda corners: Corners(*(torch.from_numpy(np.ascontiguousarray(a)) for a in corners))  # noqa: E731
    return [t.numpy() for t in corner_group(to_torch(top_left), to_torch(bottom_right), **settings)]


def assert_same(got, expected) -> None:
    for name, one, other in zip(("boxes", "scores", "corner_scores", "labels", "counts"), got, expected):
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.dtype == other.dtype


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9**6)
)
def test_peaks_equal_the_oracle_for_any_shape_with_ties_nan_and_infinities(images, classes, height, width, k, seed):
    logits = np.random.default_rng(seed).choice(LOGITS, (images, classes, height, width))
    check_peaks(logits, k)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_ranked_without_rounding(dtype):
    check_peaks(np.random.default_rng(0).normal(-2, 3, (2, 5, 24, 40)).astype(np.float32), 100, dtype)


def test_a_map_without_a_peak_fills_every_slot_with_nothing():
    scores, labels, cells = corner_peaks(torch.full((1, 2, 3, 3), torch.nan), 5)
    assert scores.tolist() == [[0] * 5] and labels.tolist() == [[-1] * 5] and cells.tolist() == [[0] * 5]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 100),
    st.sampled_from([0.5, 0.3, 0.25]),
    st.booleans(),
    st.integers(0, 9**6),
)
def test_groups_equal_the_oracle_with_ties_nan_and_any_number_of_rows(images, slots, rows, distance, strict, seed):
    rng = np.random.default_rng(seed)
    corners = [random_corners(rng, images, slots) for _ in range(2)]
    options = {"num_dets": rows, "max_distance": distance, "reject_zero_size": strict}
    assert_same(group(*corners, **options), oracles.corner_group(*corners, **options))


def one_pair(distance: float, width: float) -> tuple:
    def corner(score, embedding, x):
        return tuple(
            np.full((1, 1), v, t) for v, t in ((score, "f4"), (1, "i4"), (embedding, "f4"), (x, "f4"), (0, "f4"))
        )

    return corner(0.5, 1.0, 2.0), corner(0.25, 1.0 + distance, 2.0 + width)


@pytest.mark.parametrize(
    ("distance", "width", "strict", "count"),
    [(0.5, 1, False, 1), (0.5001, 1, False, 0), (0, 0, False, 1), (0, 0, True, 0), (0, -0.1, False, 0)],
)
def test_a_pair_at_the_edge_of_a_rule_is_kept_or_rejected_like_the_official_code(distance, width, strict, count):
    boxes, scores, corner_scores, labels, counts = group(
        *one_pair(distance, width), num_dets=2, max_distance=0.5, reject_zero_size=strict
    )
    assert counts.tolist() == [count]
    assert scores[0].tolist() == [0.375 if count else -1, -1]
    assert labels[0].tolist() == [1 if count else -1, -1]
    assert (boxes[0, count:] == 0).all() and (corner_scores[0, count:] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 9**6))
def test_labels_at_the_border_are_rejected_as_the_oracle_does(images, height, width, last, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 3, (images, 12)).astype(np.int32)
    cells = rng.integers(0, height * width, (images, 12)).astype(np.int32)
    heatmap = torch.empty(images, 2, height, width)
    got = reject_border(torch.from_numpy(labels), torch.from_numpy(cells), heatmap, last=last).numpy()
    np.testing.assert_array_equal(got, oracles.reject_border(labels, cells, height, width, last=last))
    assert got.dtype == np.int32


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9**6))
def test_attention_peaks_equal_the_oracle_with_ties_nan_and_infinities(images, height, width, count, seed):
    logits = np.random.default_rng(seed).choice(LOGITS, (images, 1, height, width))
    scores, cells = (found.numpy() for found in attention_peaks(torch.from_numpy(logits), count))
    expected = oracles.attention_peaks(logits, count)
    np.testing.assert_allclose(scores, expected[0], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(cells, expected[1])
    assert (scores.dtype, cells.dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("case", ["480x640", "640x426_many", "333x500_edges", "480x640_none"])
def test_attention_peaks_are_the_cells_that_the_official_pooling_keeps(golden, case):
    """333x500_edges: a plateau keeps all its cells, equal scores too."""
    with np.load(golden / "h_saccade" / f"attention_{case}.npz") as numbers:
        for level in range(3):
            kept, probability = numbers[f"att{level}_nms"], numbers[f"att{level}"].astype(np.float64)
            with np.errstate(divide="ignore"):
                logits = np.log(probability / (1 - probability)).astype(np.float32)
            scores, cells = (found.numpy() for found in attention_peaks(torch.from_numpy(logits), 256))
            for view in range(len(kept)):
                wanted = np.flatnonzero(kept[view] > 0.31)
                found = np.sort(cells[view][scores[view] > 0.31])
                np.testing.assert_array_equal(found, wanted)
                order = np.lexsort((wanted, -kept[view].reshape(-1)[wanted]))
                np.testing.assert_array_equal(cells[view, : len(wanted)], wanted[order])


@pytest.mark.parametrize(
    "case",
    [
        "c80_128x128_b2_K100_n1000",
        "c1_64x64_b1_dense_K100_n1000",
        "lite_saccade_c80_64x64_b2_K12_n12_noborder",
    ],
)
def test_decoded_boxes_equal_the_official_decoder(golden, case):
    with np.load(golden / "b_decode" / f"{case}.npz") as numbers:
        data = {name: numbers[name] for name in numbers.files}
    top_k, _, num_dets = (int(value) for value in data["params"])
    corners = []
    for side in ("tl", "br"):
        scores, labels, cells = corner_peaks(torch.from_numpy(data[f"{side}_heat"]), top_k)
        embeddings, x, y = oracles.read_cells(data[f"{side}_tag"], data[f"{side}_regr"], cells.numpy())
        if "noborder" in case:
            labels = reject_border(labels, cells, torch.from_numpy(data[f"{side}_heat"]), last=side == "br")
        corners.append(Corners(scores, labels, *(torch.from_numpy(a) for a in (embeddings, x, y))))
    found = corner_group(*corners, num_dets=num_dets, max_distance=float(data["ae_threshold"]))
    for image, count in enumerate(data["n_valid"]):
        expected = data["detections"][image, :count]
        assert found.counts[image] == count
        np.testing.assert_allclose(found.boxes[image, :count], expected[:, :4], atol=1e-5)
        np.testing.assert_allclose(found.scores[image, :count], expected[:, 4], atol=1e-5)
        np.testing.assert_allclose(found.corner_scores[image, :count], expected[:, 5:7], atol=1e-5)
        np.testing.assert_array_equal(found.labels[image, :count], expected[:, 7])


@pytest.mark.parametrize("size", [1, 3])
def test_a_window_times_the_weight_is_the_convolution_at_that_cell(size):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 5, 7, generator=generator)
    conv = torch.nn.Conv2d(4, 6, size, padding=size // 2)
    cells = torch.stack([torch.randperm(35, generator=generator) for _ in range(2)]).int()
    windows, columns, rows = corner_windows(features, cells, size)
    assert windows.shape == (2, 4 * size * size, 35, 1)
    got = torch.nn.functional.linear(windows[..., 0].transpose(1, 2), conv.weight.flatten(1), conv.bias)
    expected = conv(features).flatten(2).gather(2, cells.long()[:, None].expand(-1, 6, -1)).transpose(1, 2)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rows * 7 + columns, cells.float())


def test_a_cell_of_a_511_canvas_is_511_over_128_pixels_wide():
    found = cell_size(torch.zeros(1, 255, 511, 3, dtype=torch.uint8), torch.zeros(1, 1, 64, 128))
    torch.testing.assert_close(found, torch.tensor([511 / 128, 255 / 64, 511 / 128, 255 / 64]))


def test_operators_are_registered_in_full():
    """Schema, fake implementation and traceability with dynamic shapes, checked by torch itself."""
    logits = torch.randn(2, 3, 8, 12)
    torch.library.opcheck(torch.ops.cornernet.corner_peaks, (logits, 10))
    corners = [torch.rand(2, 5), torch.ones(2, 5, dtype=torch.int32), *torch.rand(3, 2, 5).unbind()]
    torch.library.opcheck(torch.ops.cornernet.corner_group, (*corners, *corners, 7, 0.5, False))
    cells = torch.zeros(2, 5, dtype=torch.int32)
    torch.library.opcheck(torch.ops.cornernet.corner_windows, (logits, cells, 3))
    torch.library.opcheck(torch.ops.cornernet.reject_border, (cells, cells, logits, True))
    torch.library.opcheck(torch.ops.cornernet.attention_peaks, (logits[:, :1], 10))
    torch.library.opcheck(torch.ops.cornernet.cell_size, (torch.zeros(2, 32, 48, 3, dtype=torch.uint8), logits))
