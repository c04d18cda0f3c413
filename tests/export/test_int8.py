"""int8 files: where the Q/DQ pairs are, that boxes are found again, that three runtimes take the one file."""

from __future__ import annotations

import copy
import dataclasses

import cv2
import numpy as np
import onnx
import pytest
from lively_network import MICRO, card_of, lively_network
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.errors import ExportError
from cornernet.engine.geometry import place_fit
from cornernet.engine.model_card import METADATA_KEY, OUTPUTS, ModelCard
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.images import read_image
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.export import int8_export, int8_gate
from cornernet.export.build import build_engine
from cornernet.export.calibration import calibration_canvases, find_pictures
from cornernet.export.int8_export import export_int8
from cornernet.export.int8_gate import agreement, search_float_blocks
from cornernet.export.onnx_export import build_model, deployed_card, inline_functions
from cornernet.export.parity import drawn_images
from cornernet.export.quantise import block_of, blocks_of, leave_in_float, make_signed, quantise
from cornernet.trainer.network.checkpoint import save_checkpoint

SIZE = (64, 96)
CONFIG = dataclasses.replace(MICRO, stacks=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(drawn_images(1, 6, 80, 120)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def network():
    return lively_network(CONFIG)


@pytest.fixture(scope="module")
def card(network):
    return deployed_card(network, card_of(network, train_size=SIZE))


@pytest.fixture(scope="module")
def plain(network, card):
    return build_model(network, card)


@pytest.fixture(scope="module")
def quantised(plain, card, photos):
    return quantise(plain, calibration_canvases(find_pictures(photos), card)[1])


@pytest.fixture(scope="module")
def exported(network, card, photos, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Random weights lose more than trained ones; the search for the blocks that do has a test of its own.
        patch.setattr(int8_gate, "MOST_FLOAT_BLOCKS", 0)
        patch.setattr(int8_gate, "LEAST_AGREEMENT", 0.5)
        return export_int8(network, card, tmp_path_factory.mktemp("int8") / "int8.onnx", calibrate=photos)


def zero_points(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Quantised tensor -> the zero point of its pair."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    return {node.input[0]: weights[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def run(model: onnx.ModelProto, path, images: np.ndarray):
    onnx.save(model, path)
    return OnnxRuntimeBackend(path, providers=["CPUExecutionProvider"]).run(images)


def test_convolutions_of_backbone_corner_modules_and_whole_maps_are_quantised_and_nothing_else(quantised):
    makers = {output: node for node in quantised.graph.node for output in node.output}
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
    answers = [
        f"{corner}.{part}/Conv"
        for corner in ("top_left", "bottom_right")
        for part in ("heatmap.1", "hidden", "position")
    ]
    heads = [node for node in convolutions if node.name in answers]
    inner = [node for node in convolutions if node.name not in answers]
    assert len(inner) > 20 and len(heads) == 6
    for node in inner:
        assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name
        assert node.input[2] not in makers  # the bias is a float32 number: TensorRT takes no other
    for node in heads:
        assert node.input[1] not in makers
    quantisers = {makers[node.input[0]].name for node in quantised.graph.node if node.op_type == "MaxPool"}
    assert quantisers == set()
    assert {function.name for function in quantised.functions} == {
        "CornerPoolTopLeft",
        "CornerPoolBottomRight",
        "CornerPeaks",
        "CornerWindows",
        "CornerGroup",
    }


def test_weights_are_symmetric_one_scale_per_channel_and_close_to_the_float_ones(plain, quantised):
    float_weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in plain.graph.initializer}
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in quantised.graph.initializer}
    found = 0
    for node in quantised.graph.node:
        integers = weights.get(node.input[0])
        if node.op_type == "DequantizeLinear" and integers is not None and integers.dtype == np.int8:
            scale, zero = (weights[name] for name in node.input[1:3])
            expected = float_weights[node.input[0].removesuffix("_quantized")]
            assert scale.shape == (len(integers),) and not zero.any()
            wide = scale[:, None, None, None]
            assert (np.abs(integers * wide - expected) <= 0.501 * wide).all()
            found += 1
    assert found > 20


def test_the_file_is_int8_by_its_card_and_finds_the_boxes_of_float32(exported):
    texts = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    assert set(texts) == {METADATA_KEY}
    assert ModelCard.from_json(texts[METADATA_KEY], origin="file") == exported.card
    assert exported.card.precision == "int8"
    assert exported.pictures == 6  # the broken one is left out
    assert exported.agreement.boxes > 10 and exported.agreement.found > 0.5
    assert exported.bytes == exported.path.stat().st_size and exported.ap is None


def test_calibration_sees_what_detection_sees(photos, card):
    pictures, canvases = calibration_canvases(find_pictures(photos), card)
    assert [path.name for path in pictures] == [f"{number}.png" for number in range(6)]
    image = read_image(pictures[2])
    expected = place_on_canvas(image, place_fit(image.shape[:2], SIZE, DEFAULT), card, DEFAULT)
    np.testing.assert_array_equal(canvases[2], expected[None])


def test_a_block_left_in_float_holds_the_float_weights_and_the_rest_is_quantised(plain, quantised):
    block = "features.backbone.hourglasses.0.keep.0"
    assert block in blocks_of(plain) and block_of(f"{block}.conv1/Conv") == block
    mixed = leave_in_float(quantised, plain, [block])
    onnx.checker.check_model(mixed)
    original = {node.name: list(node.input) for node in plain.graph.node}
    for node in mixed.graph.node:
        if node.op_type == "Conv" and block_of(node.name) == block:
            assert list(node.input) == original[node.name]
        elif node.op_type == "Conv" and node.name.startswith("features."):
            assert node.input[0] != original[node.name][0]
    assert len(zero_points(mixed)) < len(zero_points(quantised))


def test_with_every_block_in_float_the_numbers_are_those_of_float32(plain, quantised, tmp_path):
    images = drawn_images(7, 1, 64, 96)
    restored = leave_in_float(quantised, plain, blocks_of(plain))
    assert zero_points(restored) == {}
    for one, other in zip(run(plain, tmp_path / "a.onnx", images), run(restored, tmp_path / "b.onnx", images)):
        np.testing.assert_array_equal(one, other)


def test_signed_pairs_cover_the_range_of_the_unsigned_ones(quantised):
    signed = copy.deepcopy(quantised)
    make_signed(signed)
    before, after = zero_points(quantised), zero_points(signed)
    assert {zero.data_type for zero in before.values()} == {onnx.TensorProto.UINT8}
    assert {zero.data_type for zero in after.values()} == {onnx.TensorProto.INT8}
    scales = [{w.name: onnx.numpy_helper.to_array(w) for w in m.graph.initializer} for m in (quantised, signed)]
    for node in quantised.graph.node:
        if node.op_type == "QuantizeLinear":
            zero = int(onnx.numpy_helper.to_array(before[node.input[0]]))
            old, new = (float(scale[node.input[1]]) for scale in scales)
            assert 127 * new == pytest.approx(max(zero, 255 - zero) * old, rel=1e-5)
    again = copy.deepcopy(signed)
    make_signed(again)
    assert again == signed


def test_the_same_file_builds_in_tensorrt(exported, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install '.[rtx]'")
    options = {"plugins": None, "targets": ["sm_89"], "cache": None, "flavour": "tensorrt_rtx"}
    facts = build_engine(exported.path, tmp_path / "int8.engine", **options).card
    assert facts.card.precision == "int8"
    assert facts.layers["DEQUANTIZE"] > facts.layers["QUANTIZE"] > 20
    assert facts.precisions["INT8"] > 20


def test_the_same_file_runs_in_openvino(exported):
    pytest.importorskip("openvino")
    from cornernet.engine.backends.openvino import shared_core

    core = shared_core()
    model = core.read_model(inline_functions(onnx.load(exported.path)).SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = drawn_images(8, 2, *SIZE)
    expected = OnnxRuntimeBackend(exported.path, providers=["CPUExecutionProvider"]).run(images)
    got = dict(zip(OUTPUTS, (compiled(images)[name] for name in OUTPUTS)))
    # Integers of two runtimes differ by a rounding here and there: scores by little, seldom a box.
    assert np.abs(np.sort(got["scores"]) - np.sort(expected.scores)).mean() < 0.02


def found(*boxes: tuple[float, float, float, float], scores=(0.9, 0.2), labels=(0, 0)) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32), np.array(scores[:count]), np.array(labels[:count]))


def test_agreement_counts_confident_boxes_and_their_best_overlap():
    truth = [found((0, 0, 10, 10), (50, 50, 60, 60))]
    assert agreement(truth, truth) == (1, 1.0, 1.0)
    assert agreement(truth, [found((0, 0, 10, 5))]) == (1, 1.0, 0.5)
    assert agreement(truth, [found((0, 0, 10, 4))]).found == 0
    assert agreement(truth, [found((0, 0, 10, 10), labels=(1,))]) == (1, 0.0, 0.0)
    assert agreement([found()], [found()]) == (0, 1.0, 1.0)


def spoil(quantised: onnx.ModelProto, weight: str) -> onnx.ModelProto:
    """The integers of one layer at random: a block that cannot be quantised."""
    spoilt = copy.deepcopy(quantised)
    tensor = next(w for w in spoilt.graph.initializer if w.name == f"{weight}_quantized")
    integers = onnx.numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).integers(-127, 128, integers.shape).astype(np.int8)
    tensor.CopyFrom(onnx.numpy_helper.from_array(noise, tensor.name))
    return spoilt


def test_a_block_that_costs_accuracy_is_found_and_left_in_float(plain, quantised, photos, monkeypatch):
    few = ["features.backbone.stem.1", "features.backbone.stem.0", "features.corners.top_left.pooled"]
    monkeypatch.setattr(int8_gate, "blocks_of", lambda model: few)
    monkeypatch.setattr(int8_gate, "MOST_FLOAT_BLOCKS", 1)
    monkeypatch.setattr(int8_gate, "LEAST_AGREEMENT", 0.0)
    bad, pictures = spoil(quantised, "features.backbone.stem.0.conv.weight"), sorted(photos.glob("*.png"))[:3]
    best = search_float_blocks(plain, bad, pictures)
    assert best.blocks == ("features.backbone.stem.0",)
    assert best.agreement.iou > 0.5


def test_blocks_go_back_to_float_until_enough_is_kept(plain, quantised, photos, monkeypatch):
    few = ["features.backbone.stem.1", "features.backbone.stem.0", "features.corners.top_left.pooled"]
    monkeypatch.setattr(int8_gate, "blocks_of", lambda model: few)
    monkeypatch.setattr(int8_gate, "WANTED_AGREEMENT", 0.0)
    monkeypatch.setattr(int8_gate, "LEAST_AGREEMENT", 0.0)
    bad, pictures = spoil(quantised, "features.backbone.stem.0.conv.weight"), sorted(photos.glob("*.png"))[:3]
    assert search_float_blocks(plain, bad, pictures).blocks == ()
    best = search_float_blocks(plain, bad, pictures, enough=lambda found: len(found.blocks) >= 1)
    assert best.blocks == ("features.backbone.stem.0",)


def test_int8_that_loses_the_boxes_is_refused(plain, quantised, photos, monkeypatch):
    monkeypatch.setattr(int8_gate, "MOST_FLOAT_BLOCKS", 0)
    with pytest.raises(ExportError, match="mean overlap"):
        bad = spoil(quantised, "features.backbone.stem.0.conv.weight")
        search_float_blocks(plain, bad, sorted(photos.glob("*.png")))


def test_the_command_says_what_it_found_and_refuses_what_does_not_fit(exported, network, card, tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "best.safetensors", network, card)
    command = ["export", str(tmp_path / "best.safetensors"), "-o", str(tmp_path / "int8.onnx")]
    runner, asked = CliRunner(), {}
    for wrong in (["--precision", "int8"], ["--calibrate", "photos"]):
        assert runner.invoke(app, command + wrong).exit_code == 2
    report = exported._replace(float_blocks=("features.stem",), ap=(0.5, 0.499))
    monkeypatch.setattr(int8_export, "export_int8", lambda *_, **options: asked.update(options) or report)
    done = runner.invoke(app, [*command, "--precision", "int8", "--calibrate", "photos", "--num-dets", "7"])
    assert done.exit_code == 0, done.output
    assert (str(asked["calibrate"]), asked["num_dets"], asked["dataset"]) == ("photos", 7, None)
    said = " ".join(done.output.split())
    assert "calibrated on 6 pictures" in said and "answers of the heads, decoder, features.stem" in said
    assert "AP 0.500 in float32, 0.499 in int8" in said


def test_int8_that_loses_ap_is_refused(network, card, plain, quantised, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_export, "build_model", lambda *_: plain)
    monkeypatch.setattr(int8_export, "check_parity", lambda *_: None)
    monkeypatch.setattr(int8_export, "quantise", lambda *_: quantised)
    monkeypatch.setattr(int8_gate, "MOST_FLOAT_BLOCKS", 0)
    monkeypatch.setattr(int8_gate, "LEAST_AGREEMENT", 0.5)
    monkeypatch.setattr(int8_export, "average_precision", lambda model, _: 0.5 if model is plain else 0.48)
    dataset = CocoDataset(samples=(), class_names=(), category_ids=(), annotation_file=tmp_path / "val.json")
    with pytest.raises(ExportError, match=r"loses 0\.020 AP"):
        export_int8(network, card, tmp_path / "int8.onnx", calibrate=photos, dataset=dataset)
    assert list(tmp_path.iterdir()) == []
    accepted = export_int8(network, card, tmp_path / "int8.onnx", calibrate=photos, dataset=dataset, max_loss=0.05)
    assert accepted.ap == (0.5, 0.48)


def test_pictures_in_which_the_network_sees_nothing_are_refused(plain, quantised, photos, monkeypatch):
    monkeypatch.setattr(int8_gate, "CONFIDENT", 2.0)
    with pytest.raises(ExportError, match="nothing says"):
        search_float_blocks(plain, quantised, sorted(photos.glob("*.png"))[:1])
