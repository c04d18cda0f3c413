"""A Saccade's file takes canvases whose grey levels are not whole, every other file is left as it is."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from fake_backends import make_card, write_onnx
from hypothesis import given
from hypothesis import strategies as st
from planted_saccade import SceneBackend, saccade_card, scene
from saccade_onnx import write_saccade

from cornernet.engine.backends import onnxruntime as module
from cornernet.engine.backends import ort_binding
from cornernet.engine.backends.float_canvases import with_float_canvases
from cornernet.engine.backends.onnx_outline import outline
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError

RUNTIMES = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_saccade(tmp_path_factory.mktemp("floats") / "saccade.onnx")


@pytest.fixture(scope="module")
def content(model):
    return outline(model)


def test_only_the_declared_type_of_the_input_changes(content):
    declared = onnx.load_model_from_string(with_float_canvases(content))
    kind = declared.graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.FLOAT
    kind.elem_type = onnx.TensorProto.UINT8
    assert declared == onnx.load_model_from_string(content)


def test_other_networks_and_other_readers_of_the_canvases_leave_the_file_as_it_is(content, tmp_path):
    plain = outline(write_onnx(tmp_path / "plain.onnx", make_card()))
    assert with_float_canvases(plain) is plain
    graph = onnx.load_model_from_string(content)
    (cast,) = (node for node in graph.graph.node if node.op_type == "Cast" and "images" in node.input)
    cast.input[0] = "flipped"
    graph.graph.node.insert(0, onnx.helper.make_node("Identity", ["images"], ["flipped"]))
    other = graph.SerializeToString()
    assert with_float_canvases(other) is other


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_are_left_to_the_runtime(content, place, byte, cut):
    at = int(place * len(content))
    damaged = content[:at] if cut else content[:at] + bytes([byte]) + content[at + 1 :]
    assert isinstance(with_float_canvases(damaged), bytes)


def levels(count=2, seed=0):
    """Canvases (count, 255, 255, 3) float32 of a grey box on black, its levels between 200 and 201."""
    canvases = np.zeros((count, 255, 255, 3), np.float32)
    canvases[:, 60:160, 50:140] = 200.25 + 0.5 * np.random.default_rng(seed).random((count, 1, 1, 1), np.float32)
    return canvases


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runtimes_see_levels_that_are_not_whole(model, runtime):
    pytest.importorskip(runtime)
    backend = open_backend(model, runtime=runtime)
    assert backend.takes_float
    canvases = levels()
    raw = backend.run(canvases)
    np.testing.assert_allclose(raw.attention_scores[:, 2, 0], canvases.max(axis=(1, 2, 3)) / 255, atol=1e-6)
    whole = backend.run(canvases.astype(np.uint8))
    np.testing.assert_allclose(whole.attention_scores[:, 2, 0], 200 / 255, atol=1e-6)
    backend.close()


def test_memory_of_a_device_holds_them_too(model, monkeypatch):
    monkeypatch.setattr(module, "_device_of", lambda session: ("cpu", 0))
    monkeypatch.setattr(ort_binding, "_cuda", lambda device: None)
    bound, plain = (OnnxRuntimeBackend(model, providers=["CPUExecutionProvider"]) for _ in range(2))
    for canvases in (levels(), levels().astype(np.uint8)):
        for got, expected in zip(bound.run(canvases), plain.run(canvases)):
            np.testing.assert_array_equal(got, expected)
    assert not bound.places_views  # without cuda-python
    with pytest.raises(BackendError, match="type float64; expected float32"):
        bound.run(levels().astype(np.float64))
    bound.close()


def test_a_plain_file_takes_uint8_alone(tmp_path):
    backend = OnnxRuntimeBackend(write_onnx(tmp_path / "plain.onnx", make_card()))
    assert not backend.takes_float
    with pytest.raises(BackendError, match="ONNX Runtime failed"):
        backend.run(np.zeros((1, 128, 128, 3), np.float32))


def test_uint8_canvases_give_the_files_own_numbers_to_the_bit(model):
    session = onnxruntime.InferenceSession(str(model))
    backend = OnnxRuntimeBackend(model)
    canvases = np.random.default_rng(3).integers(0, 256, (3, 255, 255, 3), np.uint8)
    for got, expected in zip(backend.run(canvases), session.run(backend.card.detection_outputs, {"images": canvases})):
        np.testing.assert_array_equal(got, expected)


def test_the_official_protocol_says_where_canvases_are_rounded_and_the_default_has_nothing_to_say(model, caplog):
    caplog.set_level(logging.WARNING)
    Detector(SceneBackend())
    Detector(model, protocol="official").close()
    assert caplog.text == ""
    Detector(SceneBackend(saccade_card(2)), protocol="official")
    assert "scene takes uint8 canvases: under protocol official they are rounded" in caplog.text
    assert "`cornernet build --float-canvases`" in caplog.text


@pytest.mark.parametrize(("protocol", "dtype"), [("default", np.uint8), ("official", np.float32)])
def test_only_the_official_protocol_makes_canvases_of_such_levels(model, protocol, dtype):
    backend, taken = OnnxRuntimeBackend(model), []
    run = backend.run
    backend.run = lambda canvases: taken.append(canvases) or run(canvases)
    Detector(backend, protocol=protocol).predict(scene((101, 101, 300, 300, 201)))
    assert taken and all(canvases.dtype == dtype for canvases in taken)
    assert any((canvases % 1).any() for canvases in taken) == (protocol == "official")
