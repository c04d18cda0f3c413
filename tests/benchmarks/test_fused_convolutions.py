"""Convolutions made one give what they gave, and the verdict is what the times say."""

import json
from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from cornernet.benchmarks import fused_convolutions
from cornernet.benchmarks.fused_convolutions import FORMS, fuse_siblings, main, render, verdict
from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.engine.backends.onnx_inline import inline_functions
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.export.functions import corner_pool_functions


def convolutions(graph):
    return sum(node.op_type == "Conv" for node in graph.node)


def test_made_one_they_give_the_same_boxes(micro_model, tmp_path):
    fused = onnx.load(micro_model)
    before = convolutions(fused.graph)
    assert fuse_siblings(fused) == ["3x3, 8 -> 8 + 8 + 8 + 8", "1x1, 8 -> 8 + 8"]
    assert convolutions(fused.graph) == before - 4
    onnx.checker.check_model(fused, full_check=True)
    onnx.save(fused, tmp_path / "fused.onnx")
    canvases = np.stack([draw_picture(np.random.default_rng(seed), 64, 64) for seed in range(3)])
    expected, got = (OnnxRuntimeBackend(path).run(canvases) for path in (micro_model, tmp_path / "fused.onnx"))
    assert expected.counts.min() > 0
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.labels, expected.labels)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(got.boxes, expected.boxes, atol=1e-3)


def test_one_kind_alone_leaves_the_others(micro_model):
    fused = onnx.load(micro_model)
    assert fuse_siblings(fused, FORMS["in front of corner pooling"]) == ["3x3, 8 -> 8 + 8 + 8 + 8"]
    assert fuse_siblings(fused, (1,)) == ["1x1, 8 -> 8 + 8"]
    assert fuse_siblings(fused) == []


def test_a_pooling_function_with_two_outputs_inlines_to_the_nodes_of_two_functions():
    top_left, bottom_right = corner_pool_functions(64, 8)
    both = onnx.FunctionProto()
    both.CopyFrom(top_left)
    both.name = "CornerPoolBoth"
    renamed = {name: f"other_{name}" for node in bottom_right.node for name in [*node.input, *node.output] if name}
    for node in bottom_right.node:
        added = both.node.add()
        added.CopyFrom(node)
        for tensors in (added.input, added.output):
            tensors[:] = [renamed.get(name, name) for name in tensors]
    both.input.extend(renamed[name] for name in bottom_right.input)
    both.output.extend(renamed[name] for name in bottom_right.output)
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18, "cornernet": 1]>
        pools (float[N,C,h,w] a, float[N,C,h,w] b, float[N,C,h,w] c, float[N,C,h,w] d)
        => (float[N,C,h,w] y, float[N,C,h,w] z) {
            y = cornernet.CornerPoolTopLeft(a, b)
            z = cornernet.CornerPoolBottomRight(c, d)
        }""")
    model.functions.extend([top_left, bottom_right])
    one = onnx.ModelProto()
    one.CopyFrom(model)
    del one.graph.node[:], one.functions[:]
    one.functions.append(both)
    one.graph.node.append(onnx.helper.make_node(both.name, ["a", "b", "c", "d"], ["y", "z"], domain="cornernet"))
    kinds = [Counter(node.op_type for node in inline_functions(each).graph.node) for each in (model, one)]
    assert kinds[0] == kinds[1] and kinds[0]["MaxPool"] == 12
    maps = {
        name: np.random.default_rng(index).normal(size=(1, 2, 16, 24)).astype(np.float32)
        for index, name in enumerate("abcd")
    }
    two, fused = (onnxruntime.InferenceSession(each.SerializeToString()).run(None, maps) for each in (model, one))
    np.testing.assert_array_equal(two, fused)


def report(ratios):
    rows = [
        {"runtime": runtime, "form": form, "ms": [10, 10 * ratio], "ratios": [ratio], "cpu_ratios": [ratio]}
        for (runtime, ratio), form in zip(ratios.items(), ["all"] * len(ratios))
    ]
    return {"models": [{"name": "m", "rows": rows}]}


@pytest.mark.parametrize(
    ("ratios", "end"),
    [
        (
            {"A": 0.9, "B": 1.0},
            "All: gains more than 2% in A (m) and loses as much in none; worth doing in the export.",
        ),
        ({"A": 0.9, "B": 1.1}, "in A (m) and loses as much in B (m); the exported graph keeps a convolution a map."),
        ({"A": 1.01, "B": 0.99}, "in none and loses as much in none; the exported graph keeps a convolution a map."),
    ],
)
def test_the_graph_changes_for_a_gain_without_a_loss_only(ratios, end):
    assert verdict(report(ratios)).endswith(end)


def test_a_gain_by_the_clock_that_the_processor_does_not_confirm_is_none():
    measured = report({"A": 0.8})
    measured["models"][0]["rows"][0]["cpu_ratios"] = [1.0]
    assert "gains more than 2% in none" in verdict(measured)


def test_the_command_writes_what_it_prints_and_says_what_is_no_model(micro_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fused_convolutions, "RUNTIMES", {"ONNX Runtime": ("onnxruntime", "fp32")})
    path = tmp_path / "fused.json"
    assert main([str(micro_model), "--side", "64", "--rounds", "2", "--runs", "1", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    assert render(written) in capsys.readouterr().out
    (found,) = written["models"]
    assert [row["form"] for row in found["rows"]] == list(FORMS)
    assert all(len(row["ratios"]) == 2 and min(row["ms"]) > 0 for row in found["rows"])
    (tmp_path / "none.onnx").write_bytes(b"no model")
    assert main([str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx is not an ONNX file" in capsys.readouterr().err
