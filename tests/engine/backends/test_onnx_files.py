"""ONNX files that would fail later are refused when they are opened, and what a runtime gives back is checked."""

import random

import numpy as np
import onnx
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, FunctionBackend, bright_box, make_card, picture, raw_detections, write_onnx

from cornernet.engine.backends.contract import check_detections
from cornernet.engine.backends.open import open_backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ModelError


def edited(path, edit):
    """`path` after `edit(model)`, which may leave the graph in any state."""
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def swap(old: str, new: str):
    """Swap two names of outputs, without touching what the graph computes."""

    def edit(model):
        for value in model.graph.output:
            value.name = {old: new, new: old}.get(value.name, value.name)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = {old: new, new: old}.get(name, name)

    return edit


def nameless_lengths(model):
    """Files of other exporters promise no lengths: only a run tells them."""
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()


SWAPS = {("boxes", "corner_scores"), ("scores", "labels"), ("counts", "labels"), ("boxes", "scores")}


@pytest.mark.parametrize("lengths", ["named lengths", "nameless lengths"])
@pytest.mark.parametrize("names", sorted(SWAPS), ids=" and ".join)
def test_swapped_outputs_are_refused_when_the_file_is_opened(tmp_path, names, lengths):
    path = edited(write_onnx(tmp_path / "model.onnx", make_card()), swap(*names))
    if lengths == "nameless lengths":
        edited(path, nameless_lengths)
    with pytest.raises(ModelError, match=rf"model\.onnx: output '({'|'.join(names)})' is"):
        open_backend(path)


FIVE_ROWS = [
    ("{0, 0, 0, 3}", "{0, 0, 0, 4}"),
    ("float[N,4] scores", "float[N,R] scores"),
    ("[N,4] labels", "[N,R] labels"),
]
FOUR_COLOURS = [("[N,H,W,3]", "[N,H,W,4]")]
NINE_FOUND = [
    ("    counts = Cast<to=6>(found)", "    nine = Constant<value=int32[1] {9}>()\n    ones = Shape<end=1>(images)\n"
     "    counts = Expand(nine, ones)"),
]  # fmt: skip
SEVEN_COLUMNS = [
    ("    boxes = Pad(box, box_pads)", "    all = Pad(box, box_pads)\n    seven = Constant<value=int64[2] {7, -1}>()\n"
     "    odd = Reshape(grey, seven)\n    top = ReduceMax<keepdims=0>(odd)\n    boxes = Add(all, top)"),
]  # fmt: skip
LABEL_FIVE = [
    ("    labels = Cast<to=6>(floored)", "    five = Constant<value=float {5.0}>()\n    lifted = Add(floored, five)\n"
     "    labels = Cast<to=6>(lifted)"),
]  # fmt: skip


def bright_box_file(path, changes=()):
    graph = BRIGHT_BOX_GRAPH
    for old, new in changes:
        assert old in graph
        graph = graph.replace(old, new)
    return write_onnx(path, make_card(), graph)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (FOUR_COLOURS, "expected 'images', uint8, "),
        (FIVE_ROWS, r"gave boxes of shape \(1, 4, 4\) .*; expected \(1, 5, 4\)"),
        (NINE_FOUND, "gave counts from 9 to 9; expected 0 to 4"),
        (SEVEN_COLUMNS, "the graph cannot be run"),
    ],
    ids=["four colours", "a row too many", "counts beyond the rows", "sizes that the graph cannot take"],
)
def test_a_graph_that_cannot_keep_the_contract_is_refused_when_the_file_is_opened(tmp_path, changes, words):
    with pytest.raises(ModelError, match=words):
        open_backend(bright_box_file(tmp_path / "model.onnx", changes))


def test_a_card_with_fewer_classes_than_the_network_is_an_error_in_the_result_that_shows_it(tmp_path):
    with Detector(bright_box_file(tmp_path / "model.onnx", LABEL_FIVE), resize="original") as detector:
        empty, found = detector.predict([picture(100, 100), picture(200, 100, (10, 20, 30, 40))])
    assert empty.error is None
    assert "labels from 5 to 5, but the card names 2 classes: it belongs to another network" in found.error


def test_metadata_that_is_not_text_is_refused(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    path.write_bytes(path.read_bytes().replace(b"bright", b"\xff\xfe\xfd\xfc\xfb\xfa"))
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_backend(path)


@pytest.mark.parametrize("replacement", [b"\xff" * 7, b"Grouter"], ids=["not text", "no operator"])
def test_an_operator_that_does_not_exist_is_the_files_fault(tmp_path, replacement):
    path = write_onnx(tmp_path / "model.onnx", make_card())
    path.write_bytes(path.read_bytes().replace(b"Greater", replacement))
    with pytest.raises(ModelError, match=r"model\.onnx"):
        open_backend(path)


def test_a_file_damaged_anywhere_opens_and_runs_or_is_refused_in_words(tmp_path):
    path, chance = write_onnx(tmp_path / "model.onnx", make_card()), random.Random(7)
    whole = path.read_bytes()
    outcomes = set()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            with Detector(path, resize="original", threads=1) as detector:
                detector.predict([picture(64, 64, (10, 20, 30, 40))])
                outcomes.add("ran")
        except (ModelError, BackendError):
            outcomes.add("refused")
    assert outcomes == {"ran", "refused"}


def broken(**fields):
    return raw_detections([[(1, 2, 3, 4, 0.5, 0)]], num_dets=2)._replace(**fields)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (broken(boxes=np.zeros((1, 2, 5), np.float32)), r"boxes of shape \(1, 2, 5\)"),
        (broken(scores=np.zeros((1, 2))), "scores of .* type float64"),
        (broken(scores=np.zeros(2, np.float32)), "expected"),
        (broken(counts=np.array([3], np.int32)), "counts from 3 to 3; expected 0 to 2"),
        (broken(counts=np.array([-1], np.int32)), "counts from -1"),
        (broken(labels=np.array([[2, -1]], np.int32)), "labels from 2 to 2"),
        (broken(labels=np.array([[-1, -1]], np.int32)), "labels from -1 to -1"),
    ],
)
def test_what_a_runtime_gives_is_checked_against_the_contract_and_the_card(raw, words):
    with pytest.raises(BackendError, match=words):
        check_detections(raw, 1, make_card(), "fake")
    backend = FunctionBackend(bright_box)
    backend.run = lambda canvases: raw
    (found,) = Detector(backend).predict(picture(64, 64))
    assert found.error.startswith("fake failed: fake gave ") and len(found) == 0


def test_what_honours_the_contract_passes():
    check_detections(raw_detections([[(1, 2, 3, 4, 0.5, 1)], []]), 2, make_card(), "fake")
    check_detections(raw_detections([]), 0, make_card(), "fake")
