"""Detections in a user's hands: iterated, indexed, cut out, drawn, saved, shown in a notebook."""

import json

import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture

from cornernet.engine.detector import Detector
from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.detections import Detections


def two(**changes):
    fields = {
        "boxes": [[10, 20, 30.5, 60], [0, 0, 5, 5]],
        "scores": [0.875, 0.25],
        "labels": [1, 0],
        "class_names": ("cat", "dog"),
        "image_size": (100, 200),
        "path": "a/b.jpg",
    }
    return Detections(**{**fields, **changes})


def test_it_gives_its_objects_one_by_one():
    assert [(one.name, one.score, one.label, one.box.tolist()) for one in two()] == [
        ("dog", 0.875, 1, [10, 20, 30.5, 60]),
        ("cat", 0.25, 0, [0, 0, 5, 5]),
    ]
    for box, score, _, name in two():
        assert box.shape == (4,) and isinstance(score, float) and isinstance(name, str)


def test_a_number_gives_one_object_and_anything_else_detections_again():
    found = two()
    assert found[0].name == found[-2].name == "dog" and found[-1].name == "cat"
    assert found[:1].names == ("dog",) and found[found.scores < 0.5].names == ("cat",)
    assert found[[1, 0]].names == ("cat", "dog")
    for row in (2, -3):
        with pytest.raises(IndexError):
            found[row]


def test_boxes_have_other_forms():
    np.testing.assert_array_equal(two().xywh, [[10, 20, 20.5, 40], [0, 0, 5, 5]])
    np.testing.assert_allclose(two().normalised, [[0.05, 0.2, 0.1525, 0.6], [0, 0, 0.025, 0.05]])
    with pytest.raises(ValueError, match="size of the image is not known"):
        _ = two(image_size=None).normalised
    assert two().rows()[0] == {
        "path": "a/b.jpg", "index": 0, "frame": None, "x1": 10, "y1": 20, "x2": 30.5, "y2": 60,
        "score": 0.875, "label": 1, "name": "dog",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (two(), "<Detections: 2 objects: 1 dog, 1 cat in a/b.jpg>"),
        (two()[[0, 0, 1]], "<Detections: 3 objects: 2 dog, 1 cat in a/b.jpg>"),
        (two(path=None)[:1], "<Detections: 1 object: 1 dog>"),
        (two(frame=7)[:0], "<Detections: 0 objects in a/b.jpg, frame 7>"),
        (Detections.failed("x.jpg: no such file"), "<Detections: x.jpg: no such file>"),
    ],
)
def test_its_text_says_what_was_found(found, text):
    assert repr(found) == text


def test_a_notebook_gets_a_table_and_nothing_of_it_is_markup_from_outside():
    page = two(class_names=("cat", "<script>"), path="<b>.jpg")._repr_html_()
    assert "&lt;script&gt;" in page and "&lt;b&gt;" in page and "<script>" not in page
    assert "<img" not in page and "0.88" in page
    assert "data:image/jpeg;base64," in two(image=picture(100, 200))._repr_html_()
    assert "no such file" in Detections.failed("no such file")._repr_html_()


@pytest.mark.parametrize("many", [False, True])
def test_the_picture_comes_with_the_result_where_that_is_asked_for(many, tmp_path):
    image = picture(100, 120, (10, 20, 60, 90))
    two_images = [image, picture(80, 90)] * (4 if many else 1)
    detector = Detector(FunctionBackend(bright_box))
    for kept, without in zip(detector.predict(two_images, keep_images=True), detector.predict(two_images), strict=True):
        assert without.image is None and kept.boxes.tolist() == without.boxes.tolist()
        assert kept.image.shape[:2] == kept.image_size
    (first,) = detector.predict(image, keep_images=True)
    (crop,) = first.crops()
    assert crop.shape == (70, 50, 3) and (crop == 255).all()
    first.save(tmp_path / "drawn.png")
    np.testing.assert_array_equal(read_image(tmp_path / "drawn.png"), first.draw(image))


def test_without_a_kept_picture_the_file_is_read_and_otherwise_the_cure_is_said(tmp_path):
    two(boxes=[[1, 1, 9, 9]] * 2, path=None, image=picture(30, 30)).save(tmp_path / "a.png")
    assert two(path=str(tmp_path / "a.png")).draw().shape == (30, 30, 3)
    for found in (two(path=None), two(frame=3)):
        with pytest.raises(ImageError, match="keep_images=True"):
            found.draw()


@pytest.mark.parametrize("box", [[-50, -50, 10, 10], [290, 190, 400, 300], [5, 5, 5, 5], [500, 500, 600, 600]])
def test_a_crop_is_never_empty(box):
    (crop,) = Detections([box], [0.5], [0]).crops(picture(200, 300))
    assert min(crop.shape) >= 1


def test_fast_decoding_gives_whole_pictures_where_they_are_kept(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.jpg"), picture(1024, 1024, (100, 100, 900, 900)))
    backend = FunctionBackend(bright_box, make_card(train_size=(128, 128)))
    found = Detector(backend, decode="fast").predict(tmp_path / "a.jpg", keep_images=True)[0]
    assert found.image.shape[:2] == found.image_size == (1024, 1024)


def test_a_line_of_json_is_detections_again():
    found = two(index=3, frame=2)
    again = Detections.from_json(found.to_json())
    assert (again.names, again.path, again.index, again.frame, again.image_size) == (
        found.names, "a/b.jpg", 3, 2, (100, 200),
    )  # fmt: skip
    np.testing.assert_allclose(again.boxes, found.boxes)
    assert json.loads(again.to_json()) == json.loads(found.to_json())
    assert Detections.from_json(Detections.failed("no", path="x").to_json()).error == "no"
    for line in ("{}", "[]", "3", '{"detections": [{"box": 3}]}'):
        with pytest.raises(ValueError, match="not a line of detections"):
            Detections.from_json(line)


def test_the_package_says_its_version():
    from importlib.metadata import version

    import cornernet

    assert cornernet.__version__ == version("cornernet")
