"""OpenVINO behind the Backend protocol, with the refusals of ONNX Runtime; tests/export compares their boxes."""

import logging
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from fake_backends import make_card, picture, write_onnx
from toy_onnx import write_toy

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from cornernet.engine.backends import openvino
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.backends.openvino import OpenVinoBackend, computes_in_bf16
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import OUTPUTS

needs_bf16 = pytest.mark.skipif(not computes_in_bf16(), reason="this CPU does not compute in bf16")


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(max_size=512))


def fix_lengths(path, *lengths):
    """The file takes and gives these first lengths only, as files for other tools do."""
    content = onnx.load(path)
    for value in (*content.graph.input, *content.graph.output):
        for dimension, length in zip(value.type.tensor_type.shape.dim, lengths):
            dimension.dim_value = length
            if value.name != "images":
                break
    onnx.save(content, path)
    return path


def test_outputs_have_the_shapes_and_types_of_the_contract(model):
    backend = OpenVinoBackend(model)
    raw = backend.run(np.stack([picture(128, 256, (10, 20, 30, 40)), picture(128, 256)]))
    assert [(value.shape, value.dtype.name) for value in raw] == [
        ((2, 4, 4), "float32"), ((2, 4), "float32"), ((2, 4, 2), "float32"), ((2, 4), "int32"), ((2,), "int32")
    ]  # fmt: skip
    assert raw._fields == OUTPUTS
    np.testing.assert_array_equal(raw.boxes[0, 0], [10, 20, 30, 40])
    assert raw.counts.tolist() == [1, 0]


def test_the_detector_runs_it_by_name_and_says_so(model):
    with Detector(model, runtime="openvino", resize="original") as detector:
        (found,) = detector.predict(picture(200, 100, (10, 20, 30, 40)))
        assert (detector.backend.name, detector.backend.precision) == ("OpenVINO", "fp32")
    np.testing.assert_array_equal(found.boxes, [[10, 20, 30, 40]])


@needs_bf16
def test_bf16_is_said_in_the_name_and_gives_the_box(model):
    backend = open_backend(model, precision="bf16")
    assert isinstance(backend, OpenVinoBackend)
    assert (backend.name, backend.precision) == ("OpenVINO bf16", "bf16")
    np.testing.assert_array_equal(backend.run(picture(128, 128, (10, 20, 30, 40))[None]).boxes[0, 0], [10, 20, 30, 40])


def test_bf16_on_a_cpu_that_does_not_compute_in_it_is_refused_and_auto_is_fp32(model, monkeypatch, caplog):
    monkeypatch.setattr(openvino, "_able", lambda core: False)
    with pytest.raises(BackendError, match="does not compute in bf16"):
        OpenVinoBackend(model, precision="bf16")
    with caplog.at_level(logging.INFO):
        assert OpenVinoBackend(model, precision="auto").precision == "fp32"
    assert "does not compute in bf16; it is fp32" in caplog.text


def test_a_slice_and_an_array_that_may_not_be_written_run_like_a_copy(model):
    backend = OpenVinoBackend(model)
    wide = np.stack([picture(128, 256, (10, 20, 30, 40))] * 2)[::-1, :, ::-1]
    frozen = np.ascontiguousarray(wide)
    frozen.flags.writeable = False
    for strided, copied in zip(backend.run(wide), backend.run(frozen)):
        np.testing.assert_array_equal(strided, copied)


def test_several_threads_get_the_results_of_their_own_canvases(model):
    backend = OpenVinoBackend(model, mode="throughput", threads=2)
    assert backend.in_flight >= 1
    boxes = [(n, 2 * n, n + 20, 2 * n + 30) for n in range(1, 33)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda box: backend.run(picture(128, 128, box)[None]).boxes[0, 0].tolist(), boxes))
    assert found == [list(map(float, box)) for box in boxes]


def test_a_failure_while_running_names_the_canvases_and_the_next_run_works(model):
    backend = OpenVinoBackend(model)
    with pytest.raises(BackendError, match=r"failed on canvases \(1, 128, 128, 3\)"):
        backend.run(np.zeros((1, 128, 128, 3), np.float32))
    assert backend.run(picture(128, 128, (1, 2, 30, 40))[None]).counts.tolist() == [1]


def test_a_closed_backend_says_so(model):
    backend = OpenVinoBackend(model)
    backend.close()
    with pytest.raises(BackendError, match="was closed"):
        backend.run(np.zeros((1, 128, 128, 3), np.uint8))


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"mode": "fast"}, {"precision": "fp8"}], ids=str)
def test_an_option_that_means_nothing_is_refused(model, wrong):
    with pytest.raises(ValueError, match="expected"):
        OpenVinoBackend(model, **wrong)


@pytest.mark.parametrize("runtime", [OnnxRuntimeBackend, OpenVinoBackend])
@pytest.mark.parametrize("fixed", [1, 2])
def test_a_file_that_fixes_its_batch_runs_any_number_of_canvases(tmp_path, fixed, runtime):
    path = fix_lengths(write_onnx(tmp_path / "model.onnx", make_card()), fixed)
    canvases = np.stack([picture(128, 128, (n, 5, n + 20, 40)) for n in range(1, 4)])
    raw = runtime(path).run(canvases)
    assert raw.counts.tolist() == [1, 1, 1]
    assert raw.boxes[:, 0].tolist() == [[n, 5, n + 20, 40] for n in range(1, 4)]


def test_a_file_that_fixes_its_canvas_is_tried_with_that(tmp_path):
    path = fix_lengths(write_onnx(tmp_path / "model.onnx", make_card()), 1, 256, 128)
    assert OpenVinoBackend(path).run(picture(256, 128, (1, 2, 30, 200))[None]).counts.tolist() == [1]


def test_a_file_in_float16_runs(tmp_path):
    path = write_toy(tmp_path / "half.onnx", half=True)
    canvases = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    backend = OpenVinoBackend(path)
    assert backend.precision == "fp16"
    for got, expected in zip(backend.run(canvases), OnnxRuntimeBackend(path).run(canvases)):
        np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def without_card(content):
    del content.metadata_props[:]


def swapped(content):
    names = {"scores": "labels", "labels": "scores"}
    for value in content.graph.output:
        value.name = names.get(value.name, value.name)
    for node in content.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]


def no_operator(content):
    content.graph.node[3].op_type = "Grouter"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without_card, "without a model card"),
        (swapped, "output '(scores|labels)' is"),
        (no_operator, "OpenVINO .* refuses this graph"),
    ],
)
def test_a_file_that_cannot_keep_the_contract_is_refused_in_words(model, edit, words):
    content = onnx.load(model)
    edit(content)
    model.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match=words):
        OpenVinoBackend(model)


def test_a_file_damaged_anywhere_opens_and_runs_or_is_refused_in_words(model):
    whole, chance, outcomes = model.read_bytes(), random.Random(7), set()
    for _ in range(25):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        model.write_bytes(content)
        try:
            with Detector(model, resize="original", runtime="openvino", threads=1) as detector:
                detector.predict([picture(64, 64, (10, 20, 30, 40))])
                outcomes.add("ran")
        except (ModelError, BackendError):
            outcomes.add("refused")
    assert outcomes == {"ran", "refused"}


def test_a_kept_compiled_model_is_not_taken_for_one_of_other_weights(tmp_path):
    canvases = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), np.uint8)
    path, cache = write_toy(tmp_path / "toy.onnx"), tmp_path / "cache"
    first = OpenVinoBackend(path, cache=cache).run(canvases)
    again = OpenVinoBackend(path, cache=cache).run(canvases)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert list(cache.rglob("*.blob"))
    content = onnx.load(path)
    weight = onnx.numpy_helper.to_array(content.graph.initializer[0])
    content.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(2 * weight, "weight"))
    onnx.save(content, path)
    np.testing.assert_allclose(OpenVinoBackend(path, cache=cache).run(canvases).boxes, 2 * first.boxes, rtol=1e-5)


OVERLAPPING = """
import gc, signal, subprocess, sys
from cornernet.engine.backends.openvino import OpenVinoBackend
signal.signal(signal.SIGCHLD, lambda *_: None)
for _ in range(3):
    first, second = OpenVinoBackend(sys.argv[1]), OpenVinoBackend(sys.argv[1])
    first.close(); del first; gc.collect()
    second.close(); del second; gc.collect()
    for _ in range(10):
        subprocess.run(["true"])
print("alive")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_after_two_models_were_open_at_once_a_signal_handler_still_has_a_stack(model):
    done = subprocess.run([sys.executable, "-c", OVERLAPPING, model], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
