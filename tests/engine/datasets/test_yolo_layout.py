"""YOLO's data.yaml and label files: every form they come in, and what strangers put into them."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_layouts import TRUTH, objects_of, truth_of, write_picture, write_yolo
from hypothesis import given
from hypothesis import strategies as st

from cornernet.engine.datasets import yolo_layout
from cornernet.engine.datasets.layouts import load_dataset
from cornernet.engine.datasets.yolo_layout import label_file
from cornernet.engine.errors import BackendError, DatasetError

NAMES = "names: [cat, 'no']\n"


@pytest.mark.parametrize(
    "train",
    [
        "images/train",
        "images/train/",
        "./images/train",
        "[images/train]",
        "list.txt",
        "\n  - list.txt\n  - images/train",
    ],
)
def test_a_split_is_a_folder_a_list_or_a_file_of_paths(train, tmp_path):
    root = write_yolo(tmp_path / "set", yaml=f"train: {train}\n{NAMES}")
    paths = ["./images/train/a.jpg", "images/train/b.png", str(root / "images/train/c.jpg"), ""]
    (root / "list.txt").write_text("\n".join(paths))
    assert objects_of(load_dataset(root, "train")) == truth_of("train")


def test_the_yaml_itself_may_be_named_and_may_be_called_otherwise(tmp_path):
    root = write_yolo(tmp_path)
    (root / "data.yaml").rename(root / "cells.yaml")
    (root / "settings.yaml").write_text("names: x\n")
    for given_root in (root, root / "cells.yaml"):
        assert objects_of(load_dataset(given_root, "val")) == truth_of("val")


def test_a_relative_data_set_is_found_from_where_one_stands(tmp_path, monkeypatch):
    write_yolo(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    assert objects_of(load_dataset("set", "train")) == truth_of("train")


def test_pictures_in_folders_of_a_folder_are_found_with_their_labels(tmp_path):
    root = write_yolo(tmp_path)
    for kind in ("images", "labels"):
        (root / kind / "train").rename(root / kind / "deep")
        (root / kind / "train").mkdir()
        (root / kind / "deep").rename(root / kind / "train" / "deep")
    assert objects_of(load_dataset(root, "train")) == truth_of("train")


@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/d/images/images/a.b.jpg", "/d/images/labels/a.b.txt"),
        ("/d/train/images/a.jpg", "/d/train/labels/a.txt"),
        ("/d/darknet/a.jpg", "/d/darknet/a.txt"),
        ("/d/my-images/images.jpg", "/d/my-images/images.txt"),
    ],
)
def test_labels_lie_where_the_last_folder_called_images_would_be_labels(picture, labels):
    assert label_file(Path(picture)) == Path(labels)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2", "4 numbers; expected class x y width height"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 numbers"),
        ("cat 0.5 0.5 0.2 0.2", "is not class x y width height"),
        ("7 0.5 0.5 0.2 0.2", "there is no class 7; names has 2, counted from 0"),
        ("-1 0.5 0.5 0.2 0.2", "there is no class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "there is no class 0.5"),
        ("nan 0.5 0.5 0.2 0.2", "there is no class nan"),
        ("0 40 30 20 20", "not in fractions of the picture"),
        ("0 nan 0.5 0.2 0.2", "not in fractions of the picture"),
        ("0 0.5 0.5 1e400 0.2", "not in fractions of the picture"),
        ("0 0.5 0.5 0 0", "has no area"),
    ],
)
def test_a_wrong_line_is_left_out_and_named(line, words, tmp_path):
    root = write_yolo(tmp_path)
    labels = root / "labels/train/c.txt"
    labels.write_text(f"{labels.read_text()}\n{line}\n")
    data = load_dataset(root, "train")
    assert objects_of(data) == truth_of("train")
    (problem,) = data.problems
    assert words in problem and ("line 2" in problem or "(c.jpg)" in problem) and problem.endswith("left out")


def test_polygons_become_their_boxes_and_one_sentence_says_so(tmp_path):
    root = write_yolo(tmp_path)
    (root / "labels/train/b.txt").write_text("1 0.5 0.25 0.75 0.5 0.25 0.75\n0.0 0.5 0.5 0.5 0.5\n" * 3)
    data = load_dataset(root, "train")
    assert objects_of(data)["b.png"] == [("no", 16, 16, 48, 48), ("cat", 16, 16, 48, 48)] * 3
    assert data.problems == ("3 objects are outlined by polygons; their boxes were taken",)


@given(st.text(max_size=60))
def test_no_line_ends_the_reading(line):
    found = yolo_layout._box(line.split() or ["x"], 3)
    assert isinstance(found, str) or (0 <= found[0] < 3 and all(-1 < edge < 2.1 for edge in found[1:]))


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("train: [", "cannot be read as YAML"),
        ("just text", "expected lines such as"),
        (NAMES, "expected `train:` and `val:`"),
        ("train: images/train", "names is None; expected a list such as"),
        ("train: images/train\nnames: {0: cat, 2: dog}", "or a dict of numbers from 0"),
        ("train: images/train\nnames: []", "names is"),
        ("train: images/train\nnames: [[a], b]", "names is"),
        (f"train: {{a: b}}\n{NAMES}", "train is {'a': 'b'}; expected a folder"),
        (f"train: images/nowhere\n{NAMES}", "images/nowhere, which is not there"),
        (f"train: https://example.com/a.zip\n{NAMES}", "which is not there"),
        (f"train: /\n{NAMES}", "train is /, which is not there"),
        (f"train: ../..\n{NAMES}", "which is not there"),
        (f"train: /dev/zero\n{NAMES}", "which is not there"),
        (f'train: "a\\0b"\n{NAMES}', "which is not there"),
        (f"train: empty\n{NAMES}", "there is no picture that can be used in train: empty"),
        ("[" * 700, "YAML"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_told_why(yaml, words, tmp_path):
    root = write_yolo(tmp_path / "set", yaml=yaml)
    (root / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"data\.yaml") as error:
        load_dataset(root, "train")
    assert words in str(error.value) and len(str(error.value)) < 600


def test_what_a_yaml_would_run_or_blow_up_means_nothing(tmp_path):
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
    )
    marker = tmp_path / "ran"
    code = f"!!python/object/apply:os.system ['touch {marker}']"
    yaml = f"{laughs}train: images/train\ndownload: {code}\nother: {code}\n{NAMES}"
    assert len(load_dataset(write_yolo(tmp_path / "set", yaml=yaml), "train")) == 3
    with pytest.raises(DatasetError, match="names is"):
        load_dataset(write_yolo(tmp_path / "names", yaml=f"{laughs}train: images/train\nnames: *i\n"), "train")
    assert not marker.exists()


def test_sizes_have_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(yolo_layout, "_MOST_ENTRIES", 2)
    with pytest.raises(DatasetError, match="holds more than 2 files"):
        load_dataset(write_yolo(tmp_path / "many"), "train")
    monkeypatch.undo()
    root = write_yolo(tmp_path / "long")
    with (root / "labels/train/a.txt").open("wb") as file:
        file.truncate(2**40)  # holds nothing, claims a terabyte
    data = load_dataset(root, "train")
    assert "counts as one without objects" in data.problems[0] and objects_of(data)["a.jpg"] == []
    with (root / "data.yaml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DatasetError, match="expected a text file of at most"):
        load_dataset(root, "train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_links_in_circles_never_hang(tmp_path):
    root = write_yolo(tmp_path)
    os.mkfifo(root / "images/train/pipe.jpg")
    (root / "labels/train/a.txt").unlink()
    os.mkfifo(root / "labels/train/a.txt")
    (root / "images/train/again").symlink_to(root / "images")
    data = load_dataset(root, "train")
    assert len(data) == 3
    assert sorted("pipe.jpg: not a regular file" in line for line in data.problems) == [False, True]


def test_a_picture_on_its_side_is_measured_as_it_is_read(tmp_path):
    root = write_yolo(tmp_path, {"train": TRUTH["train"][:1]})
    picture = root / "images/train/a.jpg"
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = picture.read_bytes()
    picture.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[2:])
    assert cv2.imread(str(picture)).shape[:2] == (80, 60)
    (sample,) = load_dataset(root, "train").samples
    assert (sample.height, sample.width) == (80, 60)


def test_a_broken_picture_costs_itself_only(tmp_path):
    root = write_yolo(tmp_path)
    (root / "images/train/b.png").write_bytes(b"no picture")
    (root / "images/train/z.jpg").write_bytes(b"")
    data = load_dataset(root, "train")
    assert len(data) == 2 and len(data.problems) == 2
    assert "b.png" in data.problems[0] and data.problems[0].endswith("left out, not scored either")


def test_labels_without_a_yaml_are_told_what_to_write(tmp_path):
    root = write_yolo(tmp_path)
    (root / "data.yaml").unlink()
    with pytest.raises(DatasetError, match=r"no data.yaml, which says.*`names: \[cat, dog\]`"):
        load_dataset(root, "train")


def test_without_a_yaml_reader_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(BackendError, match=r"needs the package 'yaml'.*\[evaluate\]"):
        load_dataset(write_yolo(tmp_path), "train")


def test_names_of_bytes_that_are_no_utf8_are_found(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        write_picture(tmp_path / "images/train" / name, (20, 30))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (tmp_path / "data.yaml").write_text(f"train: list.txt\n{NAMES}")
    (tmp_path / "list.txt").write_bytes(b"images/train/caf\xe9.jpg\r\n")
    (sample,) = load_dataset(tmp_path, "train").samples
    assert sample.path.name == name and np.shape(sample.boxes) == (0, 4)
