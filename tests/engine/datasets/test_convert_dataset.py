"""From any layout to COCO and to YOLO, and back, without a box that moves."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from dataset_layouts import NAMES, TRUTH, WRITERS, objects_of, truth_of, write_coco, write_picture, write_voc
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.datasets.convert_dataset import convert_dataset, picture_names
from cornernet.engine.datasets.layout import plain_names
from cornernet.engine.datasets.layouts import load_dataset
from cornernet.engine.errors import OutputError
from cornernet.engine.scoring.coco import CocoDataset, Sample


def run(*words):
    return CliRunner().invoke(app, ["convert", *map(str, words)], env={"COLUMNS": "200"})


@pytest.mark.parametrize("form", ["coco", "yolo"])
@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_becomes_coco_or_yolo_and_says_the_same(layout, form, tmp_path):
    source = WRITERS[layout](tmp_path / "source")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    result = run(source, "-o", tmp_path / "new", "--to", form)
    assert result.exit_code == 0, result.output
    assert "3 train, 2 val pictures, 4 objects" in result.stdout and result.stderr == ""
    for split in ("train", "val"):
        data = load_dataset(tmp_path / "new", split)
        assert data.from_coco == (form == "coco")
        assert objects_of(data) == truth_of(split) and data.class_names == NAMES and data.problems == ()
        for sample in data.samples:
            assert sample.path.read_bytes() in before.values() and not sample.path.is_symlink()
    assert {path: path.read_bytes() for path in before} == before


def test_there_and_back_again_is_where_it_began(tmp_path):
    write_voc(tmp_path / "voc")
    for start, end, form in (("voc", "one", "yolo"), ("one", "two", "coco"), ("two", "three", "yolo")):
        assert run(tmp_path / start, "-o", tmp_path / end, "--to", form).exit_code == 0
    for file in (tmp_path / "one/labels").rglob("*.txt"):
        assert (tmp_path / "three" / file.relative_to(tmp_path / "one")).read_text() == file.read_text()
    assert (tmp_path / "three/data.yaml").read_text() == (tmp_path / "one/data.yaml").read_text()


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    corners=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=4),
)
def test_boxes_of_pictures_of_any_size_come_back_to_a_thousandth_of_a_pixel(size, corners, tmp_path_factory):
    from cornernet.engine.datasets import convert_dataset as module
    from cornernet.engine.datasets.yolo_layout import _box

    height, width = size
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], np.float64)
    boxes = (boxes.reshape(-1, 4) * [width, height, width, height]).astype(np.float32)
    labels = np.arange(len(boxes)) % 2
    sample = Sample(1, Path("a.jpg"), width, height, boxes, labels, np.zeros(len(boxes), bool))
    lines = module._lines(sample, [5, 7]).splitlines()
    read = [_box(line.split(), 8) for line in lines]
    assert [box[0] for box in read] == [5 + 2 * label for label in labels.tolist()]
    back = np.array([box[1:] for box in read], np.float64).reshape(-1, 4) * [width, height, width, height]
    np.testing.assert_allclose(back, boxes, atol=1e-3)


def test_links_lead_to_the_pictures_where_they_are(tmp_path, monkeypatch):
    write_voc(tmp_path / "voc")
    monkeypatch.chdir(tmp_path)
    assert run("voc", "-o", "new", "--pictures", "link").exit_code == 0
    assert (tmp_path / "new/images/train/a.jpg").readlink() == (tmp_path / "voc/JPEGImages/a.jpg").resolve()
    # A conversion of the links, and a second one in place of the first, leave the pictures alone.
    before = (tmp_path / "voc/JPEGImages/a.jpg").read_bytes()
    assert run("new", "-o", "again", "--pictures", "link").exit_code == 0
    assert (tmp_path / "again/images/train/a.jpg").readlink() == (tmp_path / "voc/JPEGImages/a.jpg").resolve()
    assert run("voc", "-o", "new").exit_code == 0
    assert not (tmp_path / "new/images/train/a.jpg").is_symlink()
    assert (tmp_path / "voc/JPEGImages/a.jpg").read_bytes() == before


def test_nobodys_files_are_written_over(tmp_path):
    source = write_coco(tmp_path / "source")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    for folder in (source, tmp_path / "full", tmp_path / "full/thesis.txt"):
        result = run(source, "-o", folder)
        assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1, result.output
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert run(source, "-o", tmp_path / "new").exit_code == 0
    result = run(tmp_path / "new", "-o", tmp_path / "new", "--to", "yolo")
    assert result.exit_code == 1 and "choose another folder" in result.stderr
    with pytest.raises(OutputError, match=r"lies in .*; choose another folder"):
        convert_dataset({"train": load_dataset(source, "train")}, source)


def test_what_was_mended_is_written_mended_and_said(tmp_path):
    source = write_coco(tmp_path / "source")
    file = source / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"] += [
        {"id": 50, "image_id": 2, "category_id": 1, "bbox": [40, 40, 100, 100], "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 51, "image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]},
    ]
    content["images"].append(content["images"][0] | {"file_name": "twice.jpg"})
    file.write_text(json.dumps(content))
    result = run(source, "-o", tmp_path / "new", "--split", "train")
    assert "reaches outside the image" in result.stderr and "no usable image 9" in result.stderr
    data = load_dataset(tmp_path / "new", "train")
    assert objects_of(data) == truth_of("train") | {"b.png": [("cat", 40, 40, 64, 64)]} and data.problems == ()
    assert "segmentation" in (tmp_path / "new/annotations/instances_train.json").read_text()
    assert not (tmp_path / "new/annotations/instances_val.json").exists()


def test_other_splits_are_written_when_they_are_named(tmp_path):
    source = write_coco(tmp_path / "source", TRUTH | {"trainval": TRUTH["train"]})
    result = run(source, "-o", tmp_path / "new")
    assert result.stderr.strip() == "not written: trainval; --split names splits"
    assert "3 train, 2 val pictures" in result.stdout
    result = run(source, "-o", tmp_path / "more", "--split", "trainval")
    assert "3 trainval pictures" in result.stdout and result.stderr == ""


@pytest.mark.parametrize("form", ["coco", "yolo"])
@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_one_split_becomes_two_by_the_names_of_its_pictures(write, form, tmp_path):
    pictures = [(f"{number}.png", (20, 30), [("cat", 1, 2, 10 + number, 12)]) for number in range(10)]
    write(tmp_path / "source", {"train": pictures})
    result = run(tmp_path / "source", "-o", tmp_path / "new", "--hold-out", 0.3, "--to", form)
    assert result.exit_code == 0 and "7 train, 3 val pictures, 10 objects" in result.stdout, result.output
    parts = [objects_of(load_dataset(tmp_path / "new", split)) for split in ("train", "val")]
    assert [len(part) for part in parts] == [7, 3] and not parts[0].keys() & parts[1].keys()
    assert parts[0] | parts[1] == {name: objects for name, _, objects in pictures}
    assert load_dataset(tmp_path / "new", "train").problems == ()
    # Another picture leaves the others where they are, but for the one whose place it takes.
    more = [*pictures, ("new.png", (20, 30), [])]
    write(tmp_path / "more", {"train": more})
    run(tmp_path / "more", "-o", tmp_path / "later", "--hold-out", 0.3, "--to", form)
    assert len(parts[1].keys() - objects_of(load_dataset(tmp_path / "later", "val")).keys()) <= 1


def test_what_cannot_be_shared_out_is_refused(tmp_path):
    assert run(write_voc(tmp_path / "voc"), "-o", tmp_path / "new", "--hold-out", 0.2).exit_code == 2
    write_coco(tmp_path / "one", {"train": TRUTH["train"][:1]})
    result = run(tmp_path / "one", "-o", tmp_path / "new", "--hold-out", 0.2)
    assert result.exit_code == 1 and "1 pictures; expected two or more to share out" in result.stderr
    assert not (tmp_path / "new").exists()
    result = run(write_coco(tmp_path / "three"), "-o", tmp_path / "new", "--hold-out", 0.01, "--split", "train")
    assert "2 train, 1 val pictures" in result.stdout


def test_what_yolo_cannot_say_is_said(tmp_path):
    write_voc(tmp_path / "voc")
    file = tmp_path / "voc/Annotations/a.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    result = run(tmp_path / "voc", "-o", tmp_path / "new", "--to", "yolo")
    assert "1 crowd regions and difficult objects left out" in result.stderr
    assert objects_of(load_dataset(tmp_path / "new", "train"))["a.jpg"] == [("no", 0, 0, 80, 60)]
    run(tmp_path / "voc", "-o", tmp_path / "coco")
    crowd = [sample.crowd.tolist() for sample in load_dataset(tmp_path / "coco", "train").samples]
    assert crowd == [[True, False], [], [False]]


def sample(path):
    return Sample(1, Path(path), 8, 8, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))


def test_pictures_keep_their_names_and_no_two_share_a_label_file():
    paths = ["/d/a/x.jpg", "/d/a/x.png", "/d/a/X.PNG", "/d/b/x.jpg", "/d/b/../a/y.jpg"]
    names = [name.as_posix() for name in picture_names([sample(path) for path in paths])]
    assert names == ["a/x.jpg", "a/x-2.png", "a/X-3.PNG", "b/x.jpg", "a/y.jpg"]
    assert picture_names([]) == [] and picture_names([sample("/d/z.jpg")]) == [Path("z.jpg")]


def test_splits_get_the_names_that_other_commands_look_for():
    assert plain_names(["train2017", "valid", "extra"]) == {"train2017": "train", "valid": "val", "extra": "extra"}
    assert plain_names(["train2014", "train2017"]) == {"train2014": "train2014", "train2017": "train2017"}


def test_classes_that_differ_between_splits_become_one_list(tmp_path):
    for name in ("a", "b"):
        write_picture(tmp_path / f"{name}.jpg", (8, 8))
    boxes, crowd = np.array([[1, 1, 5, 5]], np.float32), np.zeros(1, bool)
    parts = {
        split: CocoDataset(
            (Sample(1, tmp_path / f"{split}.jpg", 8, 8, boxes, np.array([1]), crowd),), names, (1, 2), tmp_path
        )
        for split, names in (("a", ("x", "y")), ("b", ("y", "z")))
    }
    assert convert_dataset(parts, tmp_path / "new", form="yolo") == []
    assert (tmp_path / "new/labels/a/a.txt").read_text().startswith("1 ")
    assert (tmp_path / "new/labels/b/b.txt").read_text().startswith("2 ")
    twice = {"a": CocoDataset(parts["a"].samples, ("x", "x"), (1, 2), tmp_path)}
    assert convert_dataset(twice, tmp_path / "more", form="yolo") == ["classes of one name became one"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in run(write_coco(tmp_path / "source"), "-o", tmp_path / "locked/new").stderr
