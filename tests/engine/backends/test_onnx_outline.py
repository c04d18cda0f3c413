"""A file without its weights is the same message, and the weights lie where it says."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, make_card, write_onnx
from hypothesis import given
from hypothesis import strategies as st
from toy_onnx import write_toy

from cornernet.engine.backends import onnx_outline
from cornernet.engine.backends.onnx_inline import read_inlined
from cornernet.engine.backends.onnx_outline import outline
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import METADATA_KEY


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file whose one weight counts as large."""
    monkeypatch.setattr(onnx_outline, "SMALLEST", 256)
    return write_toy(tmp_path / "toy.onnx")


def test_put_together_again_it_is_the_file(toy):
    model = onnx.load_model_from_string(outline(toy))
    (weight,) = model.graph.initializer
    assert weight.data_location == onnx.TensorProto.EXTERNAL and not weight.raw_data
    onnx.external_data_helper.load_external_data_for_model(model, str(toy.parent))
    weight.ClearField("data_location")
    del weight.external_data[:]
    assert model == onnx.load(toy)


def test_a_tensor_that_is_said_to_lie_inside_is_mapped_too(toy):
    """As onnxruntime.quantization writes them."""
    canvases = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    before = OnnxRuntimeBackend(toy).run(canvases)
    model = onnx.load(toy)
    model.graph.initializer[0].data_location = onnx.TensorProto.DEFAULT
    assert model.graph.initializer[0].HasField("data_location")
    onnx.save(model, toy)
    np.testing.assert_array_equal(OnnxRuntimeBackend(toy).run(canvases).boxes, before.boxes)
    assert len(read_inlined(toy).weights) == 1


def test_without_large_tensors_it_is_the_file_byte_for_byte(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    assert outline(path) == path.read_bytes()


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_come_back_or_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "any.onnx"
    path.write_bytes(content)
    try:
        assert 0 < len(outline(path)) <= len(content)  # shorter: lengths that were written in more bytes than they need
    except ModelError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("cut", [1, 100, 300, 900])
def test_a_file_that_ends_early_is_refused(toy, cut):
    toy.write_bytes(toy.read_bytes()[:-cut])
    with pytest.raises(ModelError, match=r"toy\.onnx: not an ONNX file, or a corrupted one"):
        OnnxRuntimeBackend(toy)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="not an ONNX file"):
        outline(tmp_path / "empty.onnx")


def test_it_runs_the_same_and_through_a_link_from_elsewhere(toy, tmp_path, monkeypatch):
    canvases = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.onnx"
    link.symlink_to(toy)
    found = [OnnxRuntimeBackend(path).run(canvases) for path in (toy, link)]
    monkeypatch.setattr(onnx_outline, "SMALLEST", 1 << 30)
    found.append(OnnxRuntimeBackend(toy).run(canvases))
    for mapped, linked, whole in zip(*found):
        np.testing.assert_array_equal(mapped, whole)
        np.testing.assert_array_equal(linked, whole)


def test_the_file_may_be_deleted_or_replaced_once_it_is_open(toy):
    canvases = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    backend = OnnxRuntimeBackend(toy)
    before = backend.run(canvases)
    other = shutil.copy(toy, toy.with_name("other.onnx"))
    os.truncate(other, 10)
    other.replace(toy)
    np.testing.assert_array_equal(backend.run(canvases).boxes, before.boxes)


def test_weights_that_are_said_to_lie_outside_the_folder_are_refused(toy, tmp_path):
    (tmp_path / "in").mkdir()
    model = onnx.load(toy)
    place = {"location": "../toy.onnx", "offset": 0, "length": 864}
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], **place)
    model.graph.initializer[0].ClearField("raw_data")
    path = tmp_path / "in" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside its folder"):
        read_inlined(path)


WIDE = 4096
LAYER = """    padded = Pad(box, box_pads)
    planes = Transpose<perm=[0, 3, 1, 2]>(pixels)
    one_cell = GlobalMaxPool(planes)
    channels = Conv(one_cell, narrow)
    mixed = Conv(channels, wide)
    zeros = ReduceMax<axes=[1, 2], keepdims=0>(mixed)
    column = Unsqueeze(zeros, axis_2)
    boxes = Add(padded, column)"""
OPENED = """
import resource, sys
from cornernet.engine.backends.open import open_backend

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

open_backend(sys.argv[1], runtime=sys.argv[3]).close()
before = peak()
open_backend(sys.argv[2], runtime=sys.argv[3])
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read as Linux gives it")
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_opening_a_large_file_takes_less_than_twice_its_size(tmp_path, runtime):
    pytest.importorskip(runtime)
    graph = BRIGHT_BOX_GRAPH.replace("    boxes = Pad(box, box_pads)", LAYER)
    model = onnx.parser.parse_model(graph)
    onnx.helper.set_model_props(model, {METADATA_KEY: make_card().to_json()})
    for name, channels in (("narrow", 3), ("wide", WIDE)):
        weight = np.zeros((WIDE, channels, 1, 1), np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    large = tmp_path / "large.onnx"
    onnx.save(model, large)
    small = write_onnx(tmp_path / "small.onnx", make_card())
    done = subprocess.run([sys.executable, "-c", OPENED, small, large, runtime], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1.5 * large.stat().st_size
