"""What is reported as left out or clipped is scored so, what cannot fit is said, only DatasetError is raised."""

import json

import cv2
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, DatasetError
from cornernet.engine.scoring.coco import load_coco
from cornernet.engine.scoring.evaluation import coco_stats, evaluate


def entry(number, bbox, image=1, **more):
    return {"id": number, "image_id": image, "category_id": 7, "bbox": bbox, **more}


def write(folder, annotations, images=({"id": 1, "file_name": "1.png", "width": 128, "height": 128},), boxes=None):
    """A folder whose pictures have one bright box at x 10..50, y 20..60."""
    (folder / "images").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images" / "1.png"), picture(128, 128, (10, 20, 50, 60)))
    (folder / "annotations").mkdir(exist_ok=True)
    content = {"images": list(images), "annotations": annotations, "categories": [{"id": 7, "name": "bright"}]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return folder


def scored(folder):
    """AP and notes of a detector that finds every bright box."""
    with Detector(FunctionBackend(bright_box, make_card()), resize="original") as detector:
        report = evaluate(detector, load_coco(folder, "val"))
    return report


TRUE_BOX = entry(1, [10, 20, 40, 40])


@pytest.mark.parametrize(
    "wrong",
    [
        entry(2, [30, 30, 0, 10]),
        entry(2, [300, 0, 10, 10]),
        entry(2, [-40, 0, 40, 10]),
        entry(1, [10, 20, 40, 40]),
        entry(2, [10, 20, 40, 40], image=5),
        entry(2, [float("nan"), 20, 40, 40]),
        entry(2, [1e30, 20, 40, 40]),
    ],
)
def test_an_object_that_is_left_out_is_not_a_missed_one(tmp_path, wrong):
    report = scored(write(tmp_path, [TRUE_BOX, wrong]))
    assert "left out" in report.notes[-1]
    assert report.stats["AP"] == pytest.approx(1)
    assert report.stats.objects == 1


def test_the_objects_of_a_picture_that_is_left_out_are_not_missed(tmp_path):
    pictures = [{"id": number, "file_name": f"{number}.png", "width": 128, "height": 128} for number in (1, 2)]
    report = scored(write(tmp_path, [TRUE_BOX, entry(2, [5, 5, 20, 20], image=2)], pictures))
    assert any("2.png does not exist; left out" in note for note in report.notes)
    assert (report.stats.images, report.stats.objects) == (1, 1)
    assert report.stats["AP"] == pytest.approx(1)


def test_a_box_that_is_clipped_is_scored_as_clipped(tmp_path):
    write(tmp_path, [entry(1, [-150, 20, 200, 40])])
    cv2.imwrite(str(tmp_path / "images" / "1.png"), picture(128, 128, (0, 20, 50, 60)))
    report = scored(tmp_path)
    assert "clipped" in report.notes[-1]
    assert report.stats["AP"] == pytest.approx(1)


def test_pictures_of_another_size_than_annotated_are_named_first(tmp_path):
    report = scored(write(tmp_path, [TRUE_BOX], [{"id": 1, "file_name": "1.png", "width": 256, "height": 512}]))
    assert report.notes[0].startswith("1 of 1 pictures do not have the size that their annotations are for")
    assert "1.png is 128x128, annotated as 256x512" in report.notes[0]
    assert report.notes[0] in report.to_dict()["notes"]


def test_pictures_of_their_own_size_get_no_such_note(tmp_path):
    assert not any("size" in note for note in scored(write(tmp_path, [TRUE_BOX])).notes)


@pytest.mark.parametrize(
    "number", [2147483648, 10**400, -1, 2, "1", [1], {"a": 1}, 1e308], ids=lambda value: str(value)[:12]
)
def test_only_1_makes_a_crowd_whatever_else_stands_there(tmp_path, number):
    report = scored(write(tmp_path, [entry(1, [10, 20, 40, 40], iscrowd=number)]))
    assert (report.stats["AP"], report.stats.objects) == (pytest.approx(1), 1)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a/" * 3000 + "b.png", "nul\0.png", "half \ud83d.png"])
def test_a_file_name_that_no_file_can_have_is_left_out_with_a_line(tmp_path, name):
    pictures = [{"id": number, "file_name": name, "width": 128, "height": 128} for number in (2, 1)]
    pictures[1]["file_name"] = "1.png"
    data = load_coco(write(tmp_path, [TRUE_BOX], pictures), "val")
    assert [sample.image_id for sample in data.samples] == [1]
    assert "image 2" in data.problems[0] and "does not exist" in data.problems[0]
    data.problems[0].encode()  # can be printed
    assert scored(tmp_path).stats["AP"] == pytest.approx(1)


@pytest.mark.parametrize("key", ["id", "image_id", "category_id"])
def test_a_number_beyond_64_bits_is_none(tmp_path, key):
    wrong = {**entry(2, [10, 20, 40, 40]), key: 10**400}
    images = [{"id": 1, "file_name": "1.png", "width": 128, "height": 128}]
    images += [{"id": 10**400, "file_name": "1.png", "width": 128, "height": 128}]
    assert scored(write(tmp_path, [TRUE_BOX, wrong], images)).stats.images == 1


def test_a_name_or_box_nested_beyond_sense_is_a_line_or_a_dataset_error(tmp_path):
    write(tmp_path, [TRUE_BOX])
    file = tmp_path / "annotations" / "instances_val.json"
    text = file.read_text()
    for depth in (100, 900, 50_000):
        for field in ('"bright"', "[10, 20, 40, 40]"):
            file.write_text(text.replace(field, "[" * depth + "]" * depth))
            try:
                load_coco(tmp_path, "val")
            except DatasetError:
                assert depth > 100


STRANGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -(2**63), 2**31, "1", "\ud800", ""])
    | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["id", "bbox", "name"]), inner),
    max_leaves=6,
)  # fmt: skip
KEYS = ("id", "image_id", "category_id", "bbox", "iscrowd", "area", "file_name", "width", "height", "name")
ENTRY = st.dictionaries(st.sampled_from(KEYS), STRANGE) | STRANGE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=st.lists(ENTRY, max_size=3), annotations=st.lists(ENTRY, max_size=3))
def test_nothing_but_a_dataset_error_leaves_the_loader(tmp_path, images, annotations):
    own = [{"id": 1, "file_name": "1.png", "width": 128, "height": 128}]
    data = load_coco(write(tmp_path, [TRUE_BOX, *annotations], own + images), "val")
    assert data.samples[0].image_id == 1
    for line in data.problems:
        line.encode()


def test_a_missing_evaluator_is_an_error_with_the_command_before_the_work(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(BackendError, match=r"pip install '\.\[evaluate\]'"):
        coco_stats({"images": [{"id": 1}], "categories": [], "annotations": []}, [], evaluator="pycocotools")
    data = load_coco(write(tmp_path, [TRUE_BOX]), "val")
    nothing_may_run = FunctionBackend(None, make_card())
    with Detector(nothing_may_run) as detector, pytest.raises(BackendError, match="pycocotools"):
        evaluate(detector, data, evaluator="pycocotools")
