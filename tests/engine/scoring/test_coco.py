"""Reading COCO JSON: what is there, what is wrong with it, and what makes it unusable."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine.errors import DatasetError
from cornernet.engine.scoring.coco import load_coco

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]


def image(id_, **changes):
    return {"id": id_, "file_name": f"{id_}.jpg", "width": 100, "height": 80} | changes


def box(id_, bbox=(10, 20, 30, 40), **changes):
    return {"id": id_, "image_id": 1, "category_id": 3, "bbox": list(bbox), "iscrowd": 0} | changes


def write(root, images=None, annotations=(), categories=CATEGORIES, *, file="instances_train.json", folder="images"):
    """A data set on disk; every listed image with a name exists, as a file of one byte."""
    images = [image(1), image(2)] if images is None else images
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / folder).mkdir(parents=True, exist_ok=True)
    for entry in images:
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str):
            (root / folder / entry["file_name"]).write_bytes(b"x")
    content = {"images": images, "annotations": list(annotations), "categories": list(categories)}
    (root / "annotations" / file).write_text(json.dumps(content))
    return root


def test_boxes_become_corners_and_category_ids_become_class_indices(tmp_path):
    write(tmp_path, annotations=[box(1), box(2, (0, 0, 5.5, 6), category_id=7, iscrowd=1)])
    data = load_coco(tmp_path, "train")
    assert data.class_names == ("dog", "cat") and data.category_ids == (3, 7)
    assert data.problems == () and data.annotation_file == tmp_path / "annotations" / "instances_train.json"
    first, second = data.samples
    np.testing.assert_array_equal(first.boxes, [[10, 20, 40, 60], [0, 0, 5.5, 6]])
    assert first.labels.tolist() == [0, 1] and first.crowd.tolist() == [False, True]
    assert (first.image_id, first.path, first.width, first.height) == (1, tmp_path / "images" / "1.jpg", 100, 80)
    assert (first.boxes.dtype, first.labels.dtype, first.crowd.dtype) == (np.float32, np.int64, bool)
    assert second.boxes.shape == (0, 4) and second.labels.shape == (0,) and second.crowd.shape == (0,)


@pytest.mark.parametrize("folder", ["images", "images/val", "val", "."])
def test_images_are_found_in_every_usual_layout(tmp_path, folder):
    write(tmp_path, file="instances_val.json", folder=folder)
    assert load_coco(tmp_path, "val").samples[0].path.resolve() == (tmp_path / folder / "1.jpg").resolve()


def test_names_with_the_slashes_of_windows_are_found(tmp_path):
    (tmp_path / "images/deep").mkdir(parents=True)
    write(tmp_path, [image(1, file_name="deep/1.jpg")])
    file = tmp_path / "annotations/instances_train.json"
    file.write_text(file.read_text().replace("deep/", r"deep\\"))
    assert load_coco(tmp_path, "train").samples[0].path.resolve() == (tmp_path / "images/deep/1.jpg").resolve()


def test_where_no_entry_can_be_used_the_reason_is_said(tmp_path):
    write(tmp_path, [image(1, width=None)])
    with pytest.raises(DatasetError, match=r"no usable image is listed. Such as image 1 \(1.jpg\): expected width"):
        load_coco(tmp_path, "train")


def test_a_picture_on_its_side_is_told_from_one_of_another_size(tmp_path):
    sample = load_coco(write(tmp_path), "train").samples[0]
    assert sample.wrong_size(80, 100) is None
    assert "EXIF" in sample.wrong_size(100, 80) and "EXIF" not in sample.wrong_size(40, 50)


def test_an_empty_images_folder_does_not_hide_cocos_own_layout(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path, file="instances_train.json", folder="train")
    assert load_coco(tmp_path, "train").samples[0].path == tmp_path / "train" / "1.jpg"


def test_the_split_may_be_the_files_own_name(tmp_path):
    write(tmp_path, file="relabelled_test.json")
    assert len(load_coco(tmp_path, "relabelled_test")) == 2


def test_instances_of_the_split_come_first(tmp_path):
    write(tmp_path, [image(1)], file="train.json")
    write(tmp_path, [image(1), image(2)], file="instances_train.json")
    assert len(load_coco(tmp_path, "train")) == 2


def test_without_a_split_the_only_file_is_taken(tmp_path):
    write(tmp_path)
    assert load_coco(tmp_path).annotation_file.name == "instances_train.json"
    write(tmp_path, file="instances_val.json")
    with pytest.raises(DatasetError, match=r"exactly one.*instances_train.json, instances_val.json"):
        load_coco(tmp_path)


def test_explicit_paths_need_no_layout(tmp_path):
    write(tmp_path / "set", folder="jpegs")
    (tmp_path / "set" / "annotations" / "instances_train.json").rename(tmp_path / "mine.json")
    data = load_coco(tmp_path, annotations=tmp_path / "mine.json", images=tmp_path / "set" / "jpegs")
    assert len(data) == 2


def test_a_path_given_as_text_and_a_byte_order_mark_are_fine(tmp_path):
    file = write(tmp_path) / "annotations" / "instances_train.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(load_coco(str(tmp_path), "train")) == 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (box(9, (0, 0, 0, 10)), "no area"),
        (box(9, (0, 0, 10, -1)), "no area"),
        (box(9, (200, 0, 10, 10)), "outside"),
        (box(9, (-20, 0, 20, 10)), "outside"),
        (box(9, (0, 0, math.nan, 10)), "four finite numbers"),
        (box(9, (0, 0, math.inf, 10)), "four finite numbers"),
        (box(9, (0, 0, 10**400, 10)), "four finite numbers"),
        (box(9, (0, 0, 10)), "four finite numbers"),
        (box(9, ("0", "0", "1", "1")), "four finite numbers"),
        (box(9) | {"bbox": None}, "four finite numbers"),
        (box(9, category_id=4), "no category 4"),
        (box(9, image_id=4), "no usable image 4"),
        (box(9, image_id=None), "whole numbers"),
        (box(9, category_id="cat"), "whole numbers"),
        (box(1), "the same object, left out"),
        ("text", "whole numbers"),
        (None, "whole numbers"),
    ],
)
def test_a_wrong_annotation_is_left_out_with_a_line(tmp_path, wrong, reason):
    data = load_coco(write(tmp_path, annotations=[box(1), wrong, box(2, (1, 1, 5, 5))]), "train")
    assert [len(sample.boxes) for sample in data.samples] == [2, 0]
    (line,) = data.problems
    assert reason in line


def test_a_box_that_reaches_outside_is_clipped_and_reported_beyond_rounding(tmp_path):
    annotations = [box(1, (-10, 70, 30, 40)), box(2, (90, 0, 10.5, 5))]
    data = load_coco(write(tmp_path, annotations=annotations), "train")
    np.testing.assert_array_equal(data.samples[0].boxes, [[0, 70, 20, 80], [90, 0, 100, 5]])
    assert ["clipped" in line for line in data.problems] == [True]


def test_an_annotation_id_used_for_another_object_is_reported_and_kept(tmp_path):
    data = load_coco(write(tmp_path, annotations=[box(1), box(1, (1, 1, 5, 5))]), "train")
    assert len(data.samples[0].boxes) == 2
    assert "another object, kept" in data.problems[0]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (image(1, file_name="other.jpg"), "belongs to 1.jpg already"),
        (image(9, width=0), "width and height"),
        (image(9) | {"height": None}, "width and height"),
        (image(9, width=10**400), "width and height"),
        (image("nine"), "whole number under 'id'"),
        (image(9) | {"file_name": None}, "file_name"),
        (17, "whole number under 'id'"),
    ],
)
def test_a_wrong_image_entry_is_left_out_with_a_line(tmp_path, wrong, reason):
    data = load_coco(write(tmp_path, [image(1), wrong, image(2)]), "train")
    assert [sample.image_id for sample in data.samples] == [1, 2]
    (line,) = data.problems
    assert reason in line


def test_missing_and_empty_files_are_left_out_with_a_line(tmp_path):
    write(tmp_path, [image(1), image(2), image(3)])
    (tmp_path / "images" / "2.jpg").unlink()
    (tmp_path / "images" / "3.jpg").write_bytes(b"")
    data = load_coco(tmp_path, "train")
    assert [sample.image_id for sample in data.samples] == [1]
    assert "does not exist" in data.problems[0] and "zero bytes" in data.problems[1]


def test_wrong_and_repeated_categories_are_left_out_with_a_line(tmp_path):
    categories = [{"id": 3, "name": "dog"}, {"id": 3, "name": "wolf"}, {"name": "nameless"}, {"id": 5}]
    data = load_coco(write(tmp_path, categories=categories), "train")
    assert data.class_names == ("dog", "class 5")
    assert len(data.problems) == 2 and "kept 'dog'" in data.problems[0]


def test_whole_numbers_written_otherwise_are_understood(tmp_path):
    annotations = [box("5", image_id="1", category_id=3.0)]
    data = load_coco(write(tmp_path, [image("1", width=100.0)], annotations), "train")
    assert data.problems == () and len(data.samples[0].boxes) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read as JSON"),
        ('{"images": [', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "no list under images, annotations, categories"),
        ('{"images": [], "annotations": {}, "categories": []}', "no list under annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "no usable category"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no usable image is listed"),
    ],
)
def test_an_unusable_file_is_an_error(tmp_path, content, reason):
    write(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_text(content)
    with pytest.raises(DatasetError, match=reason):
        load_coco(tmp_path, "train")


def test_a_binary_file_is_an_error(tmp_path):
    write(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_bytes(bytes(range(256)))
    with pytest.raises(DatasetError, match="cannot be read as JSON"):
        load_coco(tmp_path, "train")


def test_a_missing_split_names_what_is_there(tmp_path):
    with pytest.raises(DatasetError, match=r"expected annotations/instances_val.json.*instances_train.json"):
        load_coco(write(tmp_path), "val")
    with pytest.raises(DatasetError, match="no JSON file"):
        load_coco(tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_coco(tmp_path, annotations=tmp_path / "nowhere.json")


def test_images_that_are_nowhere_are_an_error_naming_the_places(tmp_path):
    write(tmp_path)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match=r"none of its 2 usable images exists \(the first is 1.jpg\).*images"):
        load_coco(tmp_path, "train")
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "images" / name).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"every image in .* is empty"):
        load_coco(tmp_path, "train")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
entries = st.dictionaries(
    st.sampled_from(["id", "image_id", "category_id", "bbox", "iscrowd", "file_name", "width", "height", "name"]),
    json_values | st.integers(0, 3) | st.lists(st.floats(0, 50), min_size=4, max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(entries | json_values, max_size=5), st.lists(entries | json_values, max_size=5))
def test_any_json_gives_samples_within_their_images_or_lines(tmp_path_factory, images, annotations):
    root = tmp_path_factory.getbasetemp() / "fuzz"
    valid = [image(1), image(2)]
    write(root, valid)
    content = {"images": [*valid, *images], "annotations": annotations, "categories": [*CATEGORIES, *images]}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    data = load_coco(root, "train")
    kept = sum(len(sample.boxes) for sample in data.samples)
    assert kept + len(data.problems) >= len(annotations)
    for sample in data.samples:
        assert (sample.boxes >= 0).all() and (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert (sample.boxes[:, 2:] <= [sample.width, sample.height]).all()
        assert (sample.labels < len(data.class_names)).all()


@pytest.mark.parametrize(
    ("name", "split", "images", "boxes", "crowds", "classes"),
    [
        ("coco_ci16", "train2017", 8, 121, 3, 80),
        ("coco_ci16", "val2017", 8, 94, 2, 80),
        ("bccd_ci16", "train", 12, 182, 0, 3),
        ("bccd", "trainval", 292, 3941, 0, 3),
        ("bccd", "relabelled_test", 40, 1006, 0, 3),
    ],
)
def test_real_data_sets_are_read_whole(shared_data, name, split, images, boxes, crowds, classes):
    data = load_coco(shared_data / name, split)
    assert data.problems == ()
    assert len(data) == images and len(data.class_names) == classes
    assert sum(len(sample.boxes) for sample in data.samples) == boxes
    assert sum(int(sample.crowd.sum()) for sample in data.samples) == crowds
    assert any(len(sample.boxes) == 0 for sample in data.samples) == (split == "val2017")


def test_reading_needs_neither_torch_nor_opencv():
    code = "import sys, cornernet.engine.scoring.coco; print(sorted({'torch', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
