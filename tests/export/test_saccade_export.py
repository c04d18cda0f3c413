"""A CornerNet-Saccade in one file: boxes and attention, the same in every runtime, refused where they are not."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from lively_network import card_of, lively_network

from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import ATTENTION_MAPS, METADATA_KEY, ModelCard
from cornernet.export import int8_export, int8_gate, onnx_export
from cornernet.export.int8_export import export_int8
from cornernet.export.onnx_export import build_model, deployed_card, export_onnx, inline_functions
from cornernet.export.parity import drawn_images
from cornernet.export.quantise import quantise, write_quantised
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.presets import preset


@pytest.fixture(scope="module")
def network():
    return lively_network(preset("saccade-tiny", 3))


@pytest.fixture(scope="module")
def plain(network, tmp_path_factory):
    return export_onnx(network, card_of(network), tmp_path_factory.mktemp("saccade") / "plain.onnx")


def assert_same_outputs(got, expected, atol=1e-4) -> None:
    """Attention cells as sets per map: neighbours in rank whose scores differ by rounding may swap."""
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.labels, expected.labels)
    np.testing.assert_allclose(got.boxes, expected.boxes, atol=1e-2)
    for name in ("scores", "corner_scores", "attention_scores"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=atol, err_msg=name)
    np.testing.assert_array_equal(np.sort(got.attention_cells), np.sort(expected.attention_cells))


def test_the_file_gives_boxes_and_attention_and_its_card_says_that_it_is_a_saccade(plain, network):
    model = onnx.load(plain.path)
    onnx.checker.check_model(model, full_check=True)
    outputs = {o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert list(outputs) == list(plain.card.detection_outputs)
    assert outputs["boxes"] == ["N", 12, 4]
    assert outputs["attention_scores"] == outputs["attention_cells"] == ["N", 3, 64]
    (text,) = (entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    card = ModelCard.from_json(text, origin="file")
    assert card == plain.card and card.saccade == card_of(network).saccade and card.decoder.reject_border
    operators = sorted(node.op_type for node in model.graph.node if node.domain == "cornernet")
    windows, peaks = ["CornerWindows"] * 2, ["CornerPeaks"] * 2
    assert operators == ["CornerGroup", *peaks, "CornerPoolBottomRight", "CornerPoolTopLeft", *windows]
    assert {node.name for node in model.graph.node} >= {
        f"attention.maps.{m.split('_')[0]}.1/Conv" for m in ATTENTION_MAPS
    }


@pytest.mark.parametrize("shape", [(2, 127, 127), (1, 32, 61), (3, 128, 96)])
def test_onnx_runtime_gives_what_torch_gives_at_any_size_and_batch(network, plain, shape):
    images = drawn_images(3, *shape)
    got = OnnxRuntimeBackend(plain.path).run(images)
    assert_same_outputs(got, TorchBackend(network, plain.card).run(images))
    cells = (-(-shape[1] // 16)) * (-(-shape[2] // 16))
    if cells < 64:  # the large map has fewer cells than there are rows
        assert (got.attention_scores[:, 0, cells:] == -1).all()


def without_cast(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network behind the cast to float: float32 canvases are what it reads."""
    (cast,) = (node for node in model.graph.node if node.op_type == "Cast" and node.input[0] == "images")
    model.graph.node.remove(cast)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "images" if name == cast.output[0] else name
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


@pytest.fixture
def file_of_kind(request, network, plain, tmp_path):
    """plain: with functions that plugins may replace. The others as `cornernet export` writes them, without its checks,
    but for "apart": weights in a file beside it."""
    kind, path = request.param, tmp_path / "model.onnx"
    card = deployed_card(network, card_of(network), precision="fp16" if kind == "fp16" else "fp32")
    model = onnx.load(plain.path) if kind != "fp16" else build_model(network, card)
    if kind == "inlined":
        model = inline_functions(model)
    if kind == "int8":
        write_quantised(quantise(model, [drawn_images(seed, 1, 127, 127) for seed in range(2)]), path)
    else:
        onnx.save(model, path, save_as_external_data=kind == "apart", location="weights.bin")
    return path


KINDS = [
    pytest.param(kind, marks=pytest.mark.slow if kind in ("fp16", "int8") else ())
    for kind in ("plain", "inlined", "apart", "fp16", "int8")
]


@pytest.mark.parametrize("file_of_kind", KINDS, indirect=True)
def test_every_kind_of_file_reads_canvases_that_are_not_rounded_and_uint8_as_ever(file_of_kind):
    whole = drawn_images(6, 2, 127, 127)
    floats = whole + np.random.default_rng(0).uniform(0, 0.5, whole.shape).astype(np.float32)
    backend = OnnxRuntimeBackend(file_of_kind)
    names = list(backend.card.detection_outputs)
    own = onnxruntime.InferenceSession(str(file_of_kind), providers=["CPUExecutionProvider"])
    for got, expected in zip(backend.run(whole), own.run(names, {"images": whole})):
        np.testing.assert_array_equal(got, expected)
    behind = without_cast(onnx.load(file_of_kind)).SerializeToString()
    session = onnxruntime.InferenceSession(behind, providers=["CPUExecutionProvider"])
    for got, expected in zip(backend.run(floats), session.run(names, {"images": floats})):
        np.testing.assert_array_equal(got, expected)
    assert not np.array_equal(backend.run(floats).scores, backend.run(whole).scores)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_canvases_that_are_not_rounded_give_what_torch_gives(network, plain, runtime):
    pytest.importorskip(runtime)
    floats = drawn_images(6, 2, 127, 127) + np.float32(0.37)
    got = open_backend(plain.path, runtime=runtime).run(floats)
    assert_same_outputs(got, TorchBackend(network, plain.card).run(floats))


def widen_window(model: onnx.ModelProto) -> onnx.ModelProto:
    node = next(node for node in model.graph.node if node.name == "attention/MaxPool")
    del node.attribute[:]
    shape = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]}
    node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in shape.items())
    return model


def spoil_head(model: onnx.ModelProto) -> onnx.ModelProto:
    node = next(node for node in model.graph.node if node.name == "attention.maps.small.1/Conv")
    weight = next(weight for weight in model.graph.initializer if weight.name == node.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return model


def accept_border(model: onnx.ModelProto) -> onnx.ModelProto:
    """CornerGroup reads the labels as CornerPeaks gives them."""
    group = next(node for node in model.graph.node if node.op_type == "CornerGroup")
    group.input[1], group.input[6] = "tl_labels", "br_labels"
    return model


@pytest.mark.parametrize(
    ("spoil", "link"),
    [(widen_window, "large_attention_peaks inf"), (spoil_head, "small_attention "), (accept_border, "boxes ")],
)
def test_a_file_that_looks_elsewhere_is_not_written(network, plain, tmp_path, monkeypatch, spoil, link):
    monkeypatch.setattr(onnx_export, "build_model", lambda *_: spoil(onnx.load(plain.path)))
    with pytest.raises(ExportError, match=link):
        export_onnx(network, card_of(network), tmp_path / "spoilt.onnx")
    assert list(tmp_path.iterdir()) == []


def test_openvino_gives_what_onnx_runtime_gives(plain):
    pytest.importorskip("openvino")
    from cornernet.engine.backends.openvino import OpenVinoBackend

    backends = OpenVinoBackend(plain.path), OnnxRuntimeBackend(plain.path)
    for shape in ((2, 127, 127), (1, 61, 32), (3, 96, 128)):
        assert_same_outputs(*(backend.run(drawn_images(4, *shape)) for backend in backends))


@pytest.mark.slow
def test_float16_files_choose_attention_from_float16_maps(network, tmp_path):
    report = export_onnx(network, card_of(network), tmp_path / "half.onnx", precision="fp16")
    assert 1e-6 < report.parity.differences["small_attention"].value < 5e-2
    images = drawn_images(5, 2, 127, 127)
    got, expected = OnnxRuntimeBackend(report.path).run(images), TorchBackend(network, report.card).run(images)
    np.testing.assert_allclose(got.attention_scores[..., :4], expected.attention_scores[..., :4], atol=1e-2)


@pytest.mark.slow
def test_raw_maps_include_attention(network, tmp_path):
    path = tmp_path / "heads.onnx"
    report = export_onnx(network, card_of(network), path, outputs="heads", precision="fp16")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(report.card.map_outputs)
    maps = session.run(list(ATTENTION_MAPS), {"images": drawn_images(0, 2, 64, 95)})
    assert [(m.shape, m.dtype) for m in maps] == [((2, 1, *s), np.float32) for s in ((4, 6), (8, 12), (16, 24))]
    assert set(report.parity.differences) == set(report.card.map_outputs)


@pytest.mark.slow
def test_int8_files_calibrate_on_what_a_saccade_sees_and_keep_its_heads_in_float(network, tmp_path, monkeypatch):
    for number, image in enumerate(drawn_images(1, 4, 180, 240)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    seen = []
    monkeypatch.setattr(int8_export, "quantise", lambda *given: seen.extend(given[1]) or quantise(*given))
    # Random weights lose more than trained ones.
    monkeypatch.setattr(int8_gate, "MOST_FLOAT_BLOCKS", 0)
    monkeypatch.setattr(int8_gate, "LEAST_AGREEMENT", 0.2)
    report = export_int8(network, card_of(network), tmp_path / "int8.onnx", calibrate=tmp_path)
    assert len(seen) == 4 * (2 + 2)  # views and crops
    assert {canvas.shape for canvas in seen} == {(1, 127, 127, 3)}
    assert report.card.precision == "int8" and report.card.saccade == card_of(network).saccade
    assert report.agreement.boxes > 5 and "small_attention_peaks" in report.parity.differences
    graph = onnx.load(report.path).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = {node.name: makers.get(node.input[1]) for node in graph.node if node.op_type == "Conv"}
    assert {made for name, made in convolutions.items() if name.startswith("features.")} == {"DequantizeLinear"}
    assert [made for name, made in convolutions.items() if name.startswith("attention.")] == [None] * 6
    raw = OnnxRuntimeBackend(report.path).run(seen[0])
    assert raw.attention_scores.shape == (1, 3, 64)
