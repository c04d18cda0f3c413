"""Each ONNX function, run by ONNX Runtime, against the definition and the official code's numbers."""

import numpy as np
import onnx
import onnxruntime
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cornernet.engine.backends.onnx_inline import inline_functions
from cornernet.export.functions import (
    DOMAIN,
    OPSET,
    PLUGIN_ATTRIBUTES,
    VERSION,
    corner_group_function,
    corner_peaks_function,
    corner_pool_functions,
    corner_windows_function,
)
from cornernet.export.parity import _largest

FLOAT, HALF, INT32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32
CORNER_TYPES = {"scores": FLOAT, "labels": INT32, "embeddings": FLOAT, "x": FLOAT, "y": FLOAT}
LOGITS = np.array([-3.0, -0.5, -0.0, 0.0, 0.5, 2.0, np.nan, np.inf, -np.inf], np.float32)


def model_of(
    function: onnx.FunctionProto, inputs: dict[str, tuple[int, int]], outputs: dict[str, tuple[int, int]], **attributes
):
    """One node calling `function`; inputs, outputs: name -> (element type, rank), every dimension dynamic."""
    node = helper.make_node(
        function.name, list(inputs), list(outputs), domain=DOMAIN, **PLUGIN_ATTRIBUTES, **attributes
    )
    graph = helper.make_graph(
        [node],
        function.name,
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in outputs.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def session(*arguments, **attributes):
    """Of `model_of`."""
    content = model_of(*arguments, **attributes).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


PEAKS = {"scores": (FLOAT, 2), "labels": (INT32, 2), "cells": (INT32, 2)}


def peaks_session(top_k: int, smallest_map: int, kind: int = FLOAT):
    return session(corner_peaks_function(top_k, smallest_map), {"logits": (kind, 4)}, PEAKS, top_k=top_k)


def group_session(top_k: int, *, num_dets: int, max_distance: float = 0.5, reject_zero_size: bool = False):
    inputs = {f"{side}_{name}": (kind, 2) for side in ("tl", "br") for name, kind in CORNER_TYPES.items()}
    outputs = {"boxes": (FLOAT, 3), "scores": (FLOAT, 2), "corner_scores": (FLOAT, 3)}
    outputs |= {"labels": (INT32, 2), "counts": (INT32, 1)}
    function = corner_group_function(top_k, num_dets, max_distance, reject_zero_size)
    attributes = {"num_dets": num_dets, "max_distance": max_distance, "reject_zero_size": int(reject_zero_size)}
    return session(function, inputs, outputs, **attributes)


def run_group(runner, top_left, bottom_right):
    names = [node.name for node in runner.get_inputs()]
    return runner.run(None, dict(zip(names, (*top_left, *bottom_right))))


def assert_peaks(got, logits: np.ndarray, top_k: int) -> None:
    expected = oracles.corner_peaks(logits, top_k)
    np.testing.assert_allclose(got[0], expected[0], atol=1e-6)
    for one, other in zip(got[1:], expected[1:]):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(0, 9**6)
)
def test_peaks_equal_the_oracle_for_any_shape_with_ties_nan_and_infinities(images, classes, height, width, k, seed):
    logits = np.random.default_rng(seed).choice(LOGITS, (images, classes, height, width))
    runner = peaks_session(k, classes * height * width)
    assert_peaks(runner.run(None, {"logits": logits}), logits, k)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_finds_the_same_peaks_beside_nan_and_infinities(precision):
    """Without ties: which of equal logits comes first is its own choice. Whole numbers, which bf16 does not round."""
    openvino = pytest.importorskip("openvino")
    function = corner_peaks_function(60, 2 * 9 * 16)
    model = inline_functions(model_of(function, {"logits": (FLOAT, 4)}, PEAKS, top_k=60))
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": precision}
    )
    finite = [*range(-60, 61)]
    line = np.array([*finite, np.inf, *[np.nan] * 80, *[-np.inf] * 86], np.float32)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        logits = np.stack([rng.permutation(line) for _ in range(2)]).reshape(2, 2, 9, 16)
        found, expected = compiled({"logits": logits}), oracles.corner_peaks(logits, 60)
        np.testing.assert_allclose(found["scores"], expected[0], atol=1e-2)
        np.testing.assert_array_equal(found["labels"], expected[1])
        np.testing.assert_array_equal(found["cells"], expected[2])


def test_peaks_of_float16_logits_are_ranked_without_rounding():
    logits = np.random.default_rng(0).normal(-2, 3, (2, 5, 24, 40)).astype(np.float16)
    assert_peaks(peaks_session(100, 320, HALF).run(None, {"logits": logits}), logits, 100)


def test_a_file_padded_for_its_smallest_map_also_takes_larger_maps():
    runner = peaks_session(50, 12)
    for shape in ((1, 3, 2, 2), (2, 3, 9, 5)):
        logits = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        assert_peaks(runner.run(None, {"logits": logits}), logits, 50)


def random_corners(rng: np.random.Generator, images: int, slots: int) -> tuple[np.ndarray, ...]:
    """Coarse values: equal scores, zero widths and embeddings exactly 0.5 apart all occur."""
    scores = rng.integers(0, 8, (images, slots)).astype(np.float32) / 8
    labels = rng.integers(-1, 2, (images, slots)).astype(np.int32)
    embeddings = rng.choice(np.array([-0.5, 0, 0.25, 0.5, 1, np.nan, np.inf], np.float32), (images, slots))
    x, y = (rng.choice(np.array([-0.5, 0, 1, 1.5, 3, np.nan, np.inf], np.float32), (images, slots)) for _ in range(2))
    return scores, labels, embeddings, x, y


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 100),
    st.sampled_from([0.5, 0.3, 0.25]),
    st.booleans(),
    st.integers(0, 9**6),
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_groups_equal_the_oracle_with_ties_nan_and_any_number_of_rows(images, slots, rows, distance, strict, seed):
    rng = np.random.default_rng(seed)
    corners = [random_corners(rng, images, slots) for _ in range(2)]
    options = {"num_dets": rows, "max_distance": distance, "reject_zero_size": strict}
    got = run_group(group_session(slots, **options), *corners)
    for one, other in zip(got, oracles.corner_group(*corners, **options)):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("corner", ["top_left", "bottom_right"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("reach", "block", "shapes"),
    [
        (33, 1, ((1, 1, 1, 1), (2, 3, 5, 8), (1, 2, 33, 17), (1, 2, 17, 33))),
        (64, 8, ((1, 1, 8, 8), (2, 3, 16, 24), (1, 2, 64, 40), (1, 2, 40, 64))),
        (30, 4, ((2, 3, 4, 8), (1, 2, 28, 12))),
    ],
    ids=["any side", "sides are multiples of 8", "reach is no multiple"],
)
def test_corner_pooling_is_bit_exact_on_every_map_up_to_its_reach(corner, dtype, reach, block, shapes):
    functions = {function.name: function for function in corner_pool_functions(reach, block)}
    function = functions[f"CornerPool{corner.title().replace('_', '')}"]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    runner = session(function, {"a": (kind, 4), "b": (kind, 4)}, {"y": (kind, 4)})
    for shape in shapes:
        rng = np.random.default_rng(sum(shape))
        a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        np.testing.assert_array_equal(runner.run(None, {"a": a, "b": b})[0], oracles.corner_pool(a, b, corner))


@pytest.mark.parametrize("corner", ["top_left", "bottom_right"])
@pytest.mark.parametrize(("reach", "block", "shape"), [(40, 1, (1, 2, 33, 40)), (40, 8, (2, 2, 32, 40))])
def test_a_nan_changes_no_cell_that_does_not_look_towards_it(corner, reach, block, shape):
    """The contract of plugins/kernels/corner_pool.h; the cells that do look there are undefined here, NaN elsewhere."""
    functions = {function.name: function for function in corner_pool_functions(reach, block)}
    function = functions[f"CornerPool{corner.title().replace('_', '')}"]
    runner = session(function, {"a": (FLOAT, 4), "b": (FLOAT, 4)}, {"y": (FLOAT, 4)})
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    a[0, 0, 7, 11] = b[0, 1, 3, 5] = b[0, 0, 20, 39] = np.nan
    expected = oracles.corner_pool(a, b, corner)
    defined = ~np.isnan(expected)
    assert 0 < (~defined).sum() < defined.sum()
    np.testing.assert_array_equal(runner.run(None, {"a": a, "b": b})[0][defined], expected[defined])


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 7)),
    st.integers(1, 9),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([np.float32, np.float16]),
    st.integers(0, 9**6),
)
def test_windows_equal_the_oracle_at_every_border(shape, slots, size, dtype, seed):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    outputs = {"windows": (kind, 4), "columns": (FLOAT, 2), "rows": (FLOAT, 2)}
    inputs = {"features": (kind, 4), "cells": (INT32, 2)}
    runner = session(corner_windows_function(size), inputs, outputs, size=size)
    rng = np.random.default_rng(seed)
    features = rng.normal(size=shape).astype(dtype)
    cells = rng.integers(0, shape[2] * shape[3], (shape[0], slots), np.int32)
    got = runner.run(None, {"features": features, "cells": cells})
    for one, other in zip(got, oracles.corner_windows(features, cells, size)):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("case", ["c80_128x128_b2_K100_n1000", "c1_64x64_b1_dense_K100_n1000"])
def test_decoded_boxes_equal_the_official_decoder(golden, case):
    with np.load(golden / "b_decode" / f"{case}.npz") as numbers:
        data = {name: numbers[name] for name in numbers.files}
    top_k, _, num_dets = (int(value) for value in data["params"])
    runner = peaks_session(top_k, data["tl_heat"][0].size)
    corners = []
    for side in ("tl", "br"):
        scores, labels, cells = runner.run(None, {"logits": data[f"{side}_heat"]})
        np.testing.assert_array_equal(cells, data[f"{side}_topk_inds_hw"])
        corners.append((scores, labels, *oracles.read_cells(data[f"{side}_tag"], data[f"{side}_regr"], cells)))
    grouping = group_session(top_k, num_dets=num_dets, max_distance=float(data["ae_threshold"]))
    boxes, scores, corner_scores, labels, counts = run_group(grouping, *corners)
    for image, count in enumerate(data["n_valid"]):
        expected = data["detections"][image, :count]
        assert counts[image] == count
        np.testing.assert_allclose(boxes[image, :count], expected[:, :4], atol=1e-5)
        np.testing.assert_allclose(scores[image, :count], expected[:, 4], atol=1e-5)
        np.testing.assert_allclose(corner_scores[image, :count], expected[:, 5:7], atol=1e-5)
        np.testing.assert_array_equal(labels[image, :count], expected[:, 7])


def test_nodes_of_a_function_have_names_of_their_own():
    for function in (
        *corner_pool_functions(8),
        corner_peaks_function(4, 2),
        corner_windows_function(3),
        corner_group_function(4, 20, 0.5, False),
    ):
        names = [node.name for node in function.node]
        assert all(names) and len(set(names)) == len(names)
        assert not any(node.domain for node in function.node)


def test_where_onnx_runtime_does_not_spread_nan_the_comparison_of_an_export_refuses():
    """The definition of corner pooling leaves NaN open, and says so: what follows from that is shown here."""
    top_left, _ = corner_pool_functions(4)
    pool = session(top_left, {name: (FLOAT, 4) for name in top_left.input}, {"y": (FLOAT, 4)})
    column = np.array([1, 2, np.nan, 0], np.float32).reshape(1, 1, 4, 1)
    got = pool.run(None, {"a": column, "b": np.zeros_like(column)})[0]
    spread = oracles.corner_pool(column, np.zeros_like(column), "top_left").astype(np.float32)
    assert np.isnan(spread.ravel()).tolist() == [True, True, True, False]
    assert np.isnan(got).any() and not np.isnan(got).all()
    assert np.isnan(got.ravel()).tolist() != np.isnan(spread.ravel()).tolist()
    assert _largest(torch.from_numpy(got), torch.from_numpy(spread)) == float("inf")
    peaks = peaks_session(1, 1).run(None, {"logits": np.full((1, 1, 1, 1), np.nan, np.float32)})
    assert peaks[0].item() <= 0
