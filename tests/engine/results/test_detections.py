"""Detections: validated, filtered, written and drawn."""

import importlib.util
import json
from itertools import pairwise

import numpy as np
import pytest

from cornernet.engine.errors import BackendError, ImageError
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.draw import class_colour


def two(**changes):
    fields = {
        "boxes": [[10.123456, 20, 30.5, 60], [0, 0, 5, 5]],
        "scores": [0.876543, 0.25],
        "labels": [1, 0],
        "class_names": ("cat", "dog"),
        "category_ids": (17, 18),
        "image_size": (100, 200),
        "path": "a/b.jpg",
        "index": 3,
    }
    return Detections(**{**fields, **changes})


def test_arrays_get_the_types_of_the_contract():
    found = two()
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int32)
    assert len(found) == 2 and found.names == ("dog", "cat")


def test_no_boxes_may_be_written_as_an_empty_list():
    assert Detections([], [], []).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 5))}, r"\(2, 5\), \(2,\), \(2,\)"),
        ({"scores": [0.5]}, r"\(2, 4\), \(1,\), \(2,\)"),
        ({"labels": [[1, 0]]}, "expected"),
        ({"labels": [2, 0]}, "labels from 0 to 2, but there are 2 classes"),
        ({"category_ids": (1,)}, "2 class names but 1 category ids"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused_with_their_shapes(changes, message):
    with pytest.raises(ValueError, match=message):
        two(**changes)


def test_above_keeps_scores_from_the_threshold_on():
    assert two().above(0.25).names == ("dog", "cat")
    kept = two().above(0.5)
    assert kept.names == ("dog",) and kept.path == "a/b.jpg" and kept.index == 3


def test_coco_entries_have_category_ids_and_width_and_height():
    first, second = two().to_coco(image_id=42)
    assert (first["image_id"], first["category_id"], second["category_id"]) == (42, 18, 17)
    np.testing.assert_allclose(first["bbox"], [10.123456, 20, 20.376544, 40], rtol=1e-6)
    assert two(decimals=2).to_coco(1)[0] == {
        "image_id": 1, "category_id": 18, "bbox": [10.12, 20.0, 20.38, 40.0], "score": 0.88
    }  # fmt: skip


def test_coco_entries_without_category_ids_count_from_one():
    found = two(category_ids=())
    assert [entry["category_id"] for entry in found.to_coco(1)] == [2, 1]


def test_json_is_one_line_that_holds_everything():
    text = two().to_json()
    assert "\n" not in text
    content = json.loads(text)
    assert (content["path"], content["index"], content["width"], content["height"]) == ("a/b.jpg", 3, 200, 100)
    assert content["error"] is None
    assert content["detections"][0] == {"box": [10.12, 20.0, 30.5, 60.0], "score": 0.87654, "label": 1, "name": "dog"}


def test_a_failure_is_a_result_with_its_reason():
    failed = Detections.failed(ImageError("x.jpg: no such file"), path="x.jpg", index=1)
    assert len(failed) == 0 and failed.error == "x.jpg: no such file"
    assert json.loads(failed.to_json())["error"] == "x.jpg: no such file"
    assert failed.to_coco(1) == []


def test_an_exception_without_a_message_is_named_by_its_type():
    assert Detections.failed(MemoryError()).error == "MemoryError"


def test_drawing_colours_the_box_edges_and_leaves_the_image_alone():
    image = np.full((200, 300, 3), 127, np.uint8)
    found = Detections([[50, 60, 150, 160]], [0.9], [1], ("a", "b"))
    drawn = found.draw(image)
    assert (image == 127).all() and drawn.shape == image.shape
    np.testing.assert_array_equal(drawn[110, 50], class_colour(1))
    np.testing.assert_array_equal(drawn[159, 100], class_colour(1))
    np.testing.assert_array_equal(drawn[110, 100], 127)


@pytest.mark.parametrize("box", [[-50, -50, 10, 10], [290, 190, 400, 300], [0, 0, 300, 200], [5, 5, 5, 5]])
@pytest.mark.parametrize("size", [(200, 300), (1, 1), (3, 500)])
def test_drawing_survives_boxes_at_and_beyond_the_edge_and_tiny_images(box, size):
    image = np.zeros((*size, 3), np.uint8)
    assert Detections([box], [0.5], [0], ("a long class name",)).draw(image, scores=False).shape == image.shape


def test_drawing_on_something_else_than_a_colour_image_is_refused():
    with pytest.raises(ImageError, match="expected \\(H, W, 3\\) uint8"):
        two().draw(np.zeros((10, 10), np.uint8))


def test_neighbouring_classes_have_different_colours():
    colours = [class_colour(label) for label in range(20)]
    assert len(set(colours)) == 20
    assert min(np.abs(np.subtract(a, b)).sum() for a, b in pairwise(colours)) > 80


@pytest.mark.skipif(importlib.util.find_spec("supervision") is not None, reason="supervision is installed")
def test_supervision_missing_is_an_error_with_the_command():
    with pytest.raises(BackendError, match=r"pip install '\.\[viz\]'"):
        two().to_supervision()


def test_supervision_gets_boxes_scores_classes_and_names(monkeypatch):
    import sys
    import types

    received = {}
    fake = types.SimpleNamespace(Detections=lambda **fields: received.update(fields))
    monkeypatch.setitem(sys.modules, "supervision", fake)
    two().to_supervision()
    assert received["xyxy"].shape == (2, 4) and received["class_id"].tolist() == [1, 0]
    assert received["data"]["class_name"].tolist() == ["dog", "cat"]
