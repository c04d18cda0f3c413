"""The exported file honours the contract, and is refused when it does not compute what the network does."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively_network import MICRO, card_of, lively_network

from cornernet.engine.backends import RawDetections, onnx_outline
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import HEAD_OUTPUTS, METADATA_KEY, OUTPUTS, Decoder, ModelCard
from cornernet.export import onnx_export
from cornernet.export.build import build_engine
from cornernet.export.onnx_export import build_model, deployed_card, export_onnx, inline_functions
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.presets import preset

# 8 * 8 cells of two canvases: more corners than the smallest map has cells, more rows than pairs of the corners.
CROWDED = Decoder(top_k=20, num_dets=500, clamp_corners=True, reject_zero_size=True)


@pytest.fixture(scope="module")
def network():
    return lively_network()


@pytest.fixture(scope="module")
def plain(network, tmp_path_factory):
    return export_onnx(network, card_of(network), tmp_path_factory.mktemp("fp32") / "plain.onnx")


@pytest.fixture(scope="module")
def half(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("fp16") / "half.onnx"
    return export_onnx(network, card_of(network), path, precision="fp16", num_dets=30, max_size=136)


@pytest.fixture(scope="module")
def crowded(network, tmp_path_factory):
    card = card_of(network, decoder=CROWDED)
    return export_onnx(network, card, tmp_path_factory.mktemp("crowded") / "crowded.onnx", inline=True)


def assert_same_detections(got, expected) -> None:
    """Row by row, where scores that differ by rounding only may have swapped places."""
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)
    for image in range(len(got.counts)):
        rows = [
            sorted(map(tuple, np.round(np.column_stack([found.boxes[image], found.labels[image]]), 1).tolist()))
            for found in (got, expected)
        ]
        np.testing.assert_allclose(rows[0], rows[1], atol=0.11)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 40, 120), (2, 61, 93), (1, 8, 8), (1, 256, 255)])
def test_boxes_equal_torch_at_sizes_and_batches_not_seen_during_export(network, plain, shape):
    images = drawn_images(3, *shape)
    got = OnnxRuntimeBackend(plain.path).run(images)
    assert_same_detections(got, TorchBackend(network, plain.card).run(images))


def test_the_file_holds_the_contract(plain):
    model = onnx.load(plain.path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, {o.domain: o.version for o in model.opset_import}) == (10, {"": 18, "cornernet": 1})
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert (model.graph.input[0].name, shape) == ("images", ["N", "H", "W", 3])
    outputs = {o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert list(outputs) == list(OUTPUTS)
    assert outputs["boxes"] == ["N", 60, 4] and outputs["counts"] == ["N"]
    assert [node.op_type for node in model.graph.node[:2]] == ["Cast", "Transpose"]
    assert plain.bytes == plain.path.stat().st_size and plain.nodes == len(model.graph.node)


def test_the_card_travels_inside(plain):
    texts = {entry.key: entry.value for entry in onnx.load(plain.path).metadata_props}
    card = ModelCard.from_json(texts[METADATA_KEY], origin="file")
    assert card == plain.card
    assert (card.precision, card.outputs, card.max_size) == ("fp32", "detections", 256)
    assert card.parameters and card.gmacs and {"torch", "onnx", "cornernet"} <= set(card.versions)


def test_operators_are_nodes_of_the_main_graph_with_what_their_plugins_need(plain):
    model = onnx.load(plain.path)
    nodes = [node for node in model.graph.node if node.domain == "cornernet"]
    found = {node.op_type: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in nodes}
    asked = {"plugin_namespace": b"cornernet", "plugin_version": b"1"}
    assert found == {
        "CornerPoolTopLeft": asked,
        "CornerPoolBottomRight": asked,
        "CornerPeaks": asked | {"top_k": 40},
        "CornerWindows": asked | {"size": 3},
        "CornerGroup": asked | {"num_dets": 60, "max_distance": 0.5, "reject_zero_size": 0},
    }
    assert sum(node.op_type in ("CornerPeaks", "CornerWindows") for node in nodes) == 4
    assert {function.name for function in model.functions} == set(found)
    assert not any(node.domain for function in model.functions for node in function.node)


def test_names_say_which_layer_a_node_is_and_are_unique(plain):
    graph = onnx.load(plain.path).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert "features.backbone.stem.0.conv/Conv" in names
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    assert not any(node.doc_string or node.metadata_props for node in graph.node)


def test_stacks_that_only_training_needs_are_not_in_the_file(plain):
    weights = [weight.name for weight in onnx.load(plain.path).graph.initializer]
    assert any("backbone.hourglasses.0" in name for name in weights)
    assert sum("heatmap.0" in name and name.endswith("weight") for name in weights) == 2


def test_float16_files_compute_in_float16_and_answer_in_float32(network, half):
    model = onnx.load(half.path)
    types = {w.name: w.data_type for w in model.graph.initializer if w.name.endswith("conv.weight")}
    assert types and set(types.values()) == {onnx.TensorProto.FLOAT16}
    assert {output.type.tensor_type.elem_type for output in model.graph.output} == {1, 6}
    assert half.card.precision == "fp16" and half.card.decoder.num_dets == 30 and half.card.max_size == 136
    assert half.parity.boxes > 0
    assert 1e-6 < half.parity.differences["tl_heatmap"].value < 5e-2


def test_an_inlined_file_runs_in_openvino_with_the_same_boxes(crowded):
    pytest.importorskip("openvino")
    from cornernet.engine.backends.openvino import shared_core

    model = onnx.load(crowded.path)
    assert not model.functions and {entry.domain for entry in (*model.opset_import, *model.graph.node)} == {""}
    compiled = shared_core().compile_model(str(crowded.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in ((2, 64, 96), (1, 63, 37), (1, 8, 8)):
        images = drawn_images(4, *shape)
        outputs = compiled(images)
        got = RawDetections(*(outputs[name] for name in OUTPUTS))
        assert_same_detections(got, OnnxRuntimeBackend(crowded.path).run(images))


@pytest.fixture(scope="module")
def both_runtimes(plain):
    """The weights of the one are mapped from the file, though they are small."""
    pytest.importorskip("openvino")
    from cornernet.engine.backends.openvino import OpenVinoBackend

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_outline, "SMALLEST", 256)
        return OpenVinoBackend(plain.path), OnnxRuntimeBackend(plain.path)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20), st.integers(0, 3), st.integers(0, 99))
def test_boxes_in_openvino_are_those_in_onnx_runtime_at_any_size_and_batch(
    both_runtimes, count, rows, columns, cut, seed
):
    images = drawn_images(seed, count, 8 * rows - cut, 8 * columns)
    assert_same_detections(*(backend.run(images) for backend in both_runtimes))


def test_an_inlined_file_is_built_by_tensorrt(crowded, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install '.[rtx]'")
    options = {"plugins": None, "targets": ["sm_89"], "cache": None, "flavour": "tensorrt_rtx"}
    card = build_engine(crowded.path, tmp_path / "crowded.engine", **options).card
    assert card.operators == {} and card.layers["TOPK"] == 3


def test_more_rows_than_pairs_and_more_corners_than_cells_are_padded(network, crowded):
    images = drawn_images(5, 2, 8, 16)
    got = OnnxRuntimeBackend(crowded.path).run(images)
    assert got.boxes.shape == (2, 500, 4)
    assert_same_detections(got, TorchBackend(network, crowded.card).run(images))
    for image, count in enumerate(got.counts):
        assert (got.scores[image, count:] == -1).all() and (got.labels[image, count:] == -1).all()
        assert not got.boxes[image, count:].any() and not got.corner_scores[image, count:].any()


def test_inlining_changes_no_number(plain, tmp_path):
    onnx.save(inline_functions(onnx.load(plain.path)), tmp_path / "inline.onnx")
    images = drawn_images(6, 2, 64, 64)
    for one, other in zip(
        OnnxRuntimeBackend(plain.path).run(images), OnnxRuntimeBackend(tmp_path / "inline.onnx").run(images)
    ):
        np.testing.assert_array_equal(one, other)


def test_raw_maps_can_be_written_instead_of_boxes(network, tmp_path):
    report = export_onnx(network, card_of(network), tmp_path / "heads.onnx", outputs="heads")
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(HEAD_OUTPUTS)
    maps = session.run(None, {"images": drawn_images(0, 2, 64, 95)})
    assert [(m.shape, m.dtype) for m in maps] == [((2, c, 16, 24), np.float32) for c in (3, 3, 1, 1, 2, 2)]
    assert set(report.parity.differences) == set(HEAD_OUTPUTS)
    assert report.card.outputs == "heads"


def tampered(model: onnx.ModelProto, operator: str, **changes) -> onnx.ModelProto:
    """One attribute of one node of a function changed: a decoder that is slightly wrong."""
    function = next(f for f in model.functions if f.name == operator)
    for name, value in changes.items():
        node = next(n for n in function.node if n.op_type == name)
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(key, v) for key, v in value.items())
    return model


def spoil_weight(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    consumed = {
        tensor for node in model.graph.node if name.partition(".weight")[0] in node.name for tensor in node.input
    }
    weight = next(w for w in model.graph.initializer if w.name in consumed and len(w.dims) > 1)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return model


def narrow_threshold(model: onnx.ModelProto) -> onnx.ModelProto:
    group = next(f for f in model.functions if f.name == "CornerGroup")
    limit = next(node for node in group.node if node.output[0] == "limit")
    limit.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.array(0.0, np.float32)))
    return model


@pytest.mark.parametrize(
    ("spoil", "link"),
    [
        (lambda m: spoil_weight(m, "backbone.features.1.conv"), "tl_heatmap"),
        (lambda m: spoil_weight(m, "top_left.hidden"), "tl_embedding|tl_offset"),
        (lambda m: tampered(m, "CornerPeaks", MaxPool={"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}), "tl_peaks inf"),
        (lambda m: tampered(m, "CornerGroup", Concat={"axis": 1}), "refuses|cannot run|boxes"),
        (lambda m: tampered(m, "CornerWindows", GatherElements={"axis": 0}), "refuses|cannot run|embedding|offset"),
        (narrow_threshold, "boxes inf"),
    ],
    ids=["weight", "sparse head", "peak window", "box layout", "windows", "embedding threshold"],
)
def test_a_file_that_computes_something_else_is_not_written(network, plain, tmp_path, monkeypatch, spoil, link):
    monkeypatch.setattr(onnx_export, "build_model", lambda *_: spoil(onnx.load(plain.path)))
    with pytest.raises(ExportError, match=link):
        export_onnx(network, card_of(network), tmp_path / "spoilt.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failed_export(network, plain, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    monkeypatch.setattr(onnx_export, "build_model", lambda *_: spoil_weight(onnx.load(plain.path), "features.1.conv"))
    with pytest.raises(ExportError):
        export_onnx(network, card_of(network), path)
    assert path.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_an_export_error(network, plain, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(onnx_export, "build_model", lambda *_: onnx.load(plain.path))
    with pytest.raises(ExportError, match="cannot write"):
        export_onnx(network, card_of(network), tmp_path / "file" / "model.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": 7}, "multiple of 8"),
        ({"max_size": 10**12}, "up to 16384"),
        ({"num_dets": 0}, "3840"),
        ({"num_dets": 3841}, "3840"),
    ],
)
def test_impossible_settings_say_what_is_possible(network, options, message):
    with pytest.raises(ExportError, match=message):
        deployed_card(network, card_of(network), **options)


def test_the_card_of_another_network_is_refused(network):
    other = lively_network(dataclasses.replace(MICRO, num_classes=4))
    with pytest.raises(ExportError, match="classes"):
        deployed_card(other, card_of(network))


@pytest.mark.slow
def test_without_corner_pooling_there_is_no_pooling_operator():
    network = lively_network(dataclasses.replace(MICRO, corner_pooling=False, stacks=1))
    model = build_model(network, deployed_card(network, card_of(network)))
    assert {function.name for function in model.functions} == {"CornerPeaks", "CornerWindows", "CornerGroup"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["tiny", "squeeze", "hourglass-104"])
def test_every_preset_passes_the_gate(tmp_path, name, precision):
    network = lively_network(preset(name, num_classes=80))
    decoder = Decoder(top_k=100, num_dets=1000)
    card = card_of(network, max_size=1024, decoder=decoder)
    report = export_onnx(network, card, tmp_path / "model.onnx", precision=precision)
    assert report.bytes < 2**31 and "boxes" in report.parity.differences
