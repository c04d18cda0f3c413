"""The same pictures and boxes, whatever layout they lie in."""

import json

import numpy as np
import pytest
from dataset_layouts import NAMES, TRUTH, WRITERS, objects_of, truth_of, write_coco, write_voc, write_yolo
from fake_backends import FunctionBackend, bright_box, make_card

from cornernet.engine.datasets.layout import match_split, usual_splits
from cornernet.engine.datasets.layouts import LAYOUTS, find_dataset, load_dataset
from cornernet.engine.detector import Detector
from cornernet.engine.errors import DatasetError
from cornernet.engine.scoring.evaluation import evaluate, scored_truth


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_gives_the_same_pictures_and_boxes(layout, split, tmp_path):
    data = load_dataset(WRITERS[layout](tmp_path), split)
    assert objects_of(data) == truth_of(split)
    assert data.class_names == NAMES and data.problems == ()
    sizes = {sample.path.name: (sample.height, sample.width) for sample in data.samples}
    assert sizes == {name: size for name, size, _ in TRUTH[split]}
    assert all(sample.path.is_file() for sample in data.samples)
    assert all(sample.boxes.dtype == np.float32 and not sample.crowd.any() for sample in data.samples)


@pytest.mark.parametrize("layout", WRITERS)
def test_the_truth_that_is_scored_is_that_of_the_samples(layout, tmp_path):
    data = load_dataset(WRITERS[layout](tmp_path), "train")
    truth = scored_truth(data)
    boxes = [(entry["category_id"], *entry["bbox"]) for entry in truth["annotations"]]
    expected = [(1, 10, 20, 40, 40), (2, 0, 0, 80, 60), (2, 3, 4, 6, 6)]
    np.testing.assert_allclose(boxes, expected, atol=0.01)
    assert len(truth["images"]) == 3 and [entry["name"] for entry in truth["categories"]] == list(NAMES)


def test_evaluation_runs_on_a_layout_that_is_no_coco_file(tmp_path):
    card = make_card(class_names=NAMES, category_ids=(4, 9), train_size=(128, 128))
    reports = [
        evaluate(Detector(FunctionBackend(bright_box, card)), load_dataset(write(tmp_path / name), "val")).to_dict()
        for name, write in (("coco", write_coco), ("yolo", write_yolo), ("voc", write_voc))
    ]
    first, *others = [{**report, "dataset": ""} for report in reports]
    assert all(other == first for other in others) and first["objects"] == 1


def test_each_layout_is_recognised_by_its_name(tmp_path):
    found = {name: find_dataset(write(tmp_path / str(place))) for place, (name, write) in enumerate(WRITERS.items())}
    names = [found[name].layout.name for name in WRITERS]
    assert names == ["COCO", "COCO", "Roboflow's COCO", "YOLO", "YOLO", "Pascal VOC", "Pascal VOC"]
    assert set(names) == {layout.name for layout in LAYOUTS}
    assert found["COCO 2017"].splits == ("train2017", "val2017")
    assert found["Roboflow's COCO"].splits == ("train", "valid")


@pytest.mark.parametrize(
    ("asked", "there", "meant"),
    [
        ("val", ["train", "val"], "val"),
        ("val", ["train", "valid"], "valid"),
        ("valid", ["train", "val2017"], "val2017"),
        ("train", ["train2014", "train2017"], None),
        ("train", ["train_2012", "trainval"], "train_2012"),
        ("mine", ["mine2020"], "mine2020"),
        ("test", ["train", "val"], None),
        (None, ["train"], "train"),
        (None, ["train", "val"], None),
    ],
)
def test_a_split_is_found_by_other_words_for_it(asked, there, meant):
    assert match_split(asked, there) == meant


def test_the_usual_splits_are_those_to_train_validate_and_test_on():
    assert usual_splits(["relabelled", "test", "train", "trainval", "valid"]) == ["train", "valid", "test"]
    assert usual_splits(["a", "b"]) == ["a", "b"]


def test_an_unknown_folder_is_told_what_it_holds_and_what_is_known(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetError, match=r"no data set in a known layout; there is notes.txt, pictures/.*") as error:
        load_dataset(tmp_path, "train")
    assert all(f"{layout.name}: {layout.marks}" in str(error.value) for layout in LAYOUTS)
    with pytest.raises(DatasetError, match="no such folder; expected a data set in one of these layouts"):
        load_dataset(tmp_path / "nowhere", "train")
    with pytest.raises(DatasetError, match="not a folder"):
        load_dataset(tmp_path / "notes.txt", "train")


def test_a_data_set_one_folder_further_down_is_named(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    with pytest.raises(DatasetError, match=r"Is it .*VOC2012\?"):
        load_dataset(tmp_path / "VOCdevkit", "train")


def test_a_split_that_is_not_there_is_told_which_are(tmp_path):
    with pytest.raises(DatasetError, match="expected a split test; there is YOLO: train, val"):
        load_dataset(write_yolo(tmp_path / "yolo"), "test")
    with pytest.raises(DatasetError, match="expected the name of a split; there is Pascal VOC: train, val"):
        load_dataset(write_voc(tmp_path / "voc"))
    write_voc(tmp_path / "plain")
    for file in (tmp_path / "plain/ImageSets/Main").iterdir():
        file.unlink()
    assert len(load_dataset(tmp_path / "plain", "all")) == 5
    with pytest.raises(DatasetError, match=r"Pascal VOC: all. `cornernet convert --hold-out 0.2` makes train and val"):
        load_dataset(tmp_path / "plain", "train")


def test_of_two_layouts_in_one_folder_the_first_that_has_the_split_counts(tmp_path):
    write_coco(tmp_path, {"train": TRUTH["train"]})
    write_voc(tmp_path, {"val": TRUTH["val"]})
    assert load_dataset(tmp_path, "train").from_coco
    assert not load_dataset(tmp_path, "val").from_coco
    (tmp_path / "data.yaml").write_text("broken: [")
    assert len(load_dataset(tmp_path, "train")) == 3


def test_a_json_file_of_something_else_does_not_hide_the_layout(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/notes.json").write_text("{}")
    assert objects_of(load_dataset(tmp_path, "train")) == truth_of("train")


def test_pictures_and_annotations_may_be_named_as_before(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations/instances_train.json").rename(tmp_path / "mine.json")
    data = load_dataset(tmp_path, annotations=tmp_path / "mine.json", images=tmp_path / "images/train")
    assert objects_of(data) == truth_of("train")
    with pytest.raises(DatasetError, match=r"annotations/relabelled\.json"):
        load_dataset(tmp_path, "relabelled")
    content = json.loads((tmp_path / "mine.json").read_text())
    (tmp_path / "annotations/relabelled.json").write_text(json.dumps(content))
    assert len(load_dataset(tmp_path, "relabelled", images=tmp_path / "images/train")) == 3
