"""The numbers of a survey against slow loops, each warning on a data set that deserves it, and the page."""

import json
import math
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from dataset_layouts import TRUTH, write_coco, write_yolo
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine.datasets.layouts import load_dataset
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.survey.same_pictures import same_pictures
from cornernet.engine.survey.survey import ASPECT_NAMES, SIDE_NAMES, survey
from cornernet.engine.survey.survey_page import MARK, survey_page
from cornernet.engine.survey.unusable_pictures import unusable_pictures


def sample(path, size, boxes=(), labels=None, crowd=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels, np.int64)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.array(crowd, bool)
    return Sample(1, path, size[1], size[0], boxes, labels, crowd)


def dataset(folder, *samples, names=("a", "b")):
    return CocoDataset(samples, names, tuple(range(1, len(names) + 1)), folder)


BOX = st.tuples(st.integers(0, 300), st.integers(0, 200), st.integers(1, 300), st.integers(1, 200), st.integers(0, 1))


@settings(max_examples=30, deadline=None)
@given(
    pictures=st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600), st.lists(BOX, max_size=5)), max_size=5),
    resize=st.sampled_from(["fit", "original"]),
)
def test_the_numbers_are_those_of_slow_loops(pictures, resize, tmp_path_factory):
    size, folder = (96, 128), tmp_path_factory.getbasetemp()
    samples, sides, aspects, classes = [], [], [], [0, 0]
    for height, width, boxes in pictures:
        corners = [(x, y, x + w, y + h) for x, y, w, h, _ in boxes]
        samples.append(sample(folder / "none", (height, width), corners, [label for *_, label in boxes]))
        for _, _, w, h, label in boxes:
            scale = min(96 / height, 128 / width) if resize == "fit" else 1
            sides.append(scale * math.sqrt(w * h))
            aspects.append(w / h)
            classes[label] += 1
    found = survey({"train": dataset(folder, *samples)}, size=size, resize=resize).splits["train"]
    bounds = [0, 8, 16, 32, 64, 128, 256, math.inf]
    near = [side for side in sides if min(abs(side - bound) for bound in bounds) < 1e-6]  # rounding may go either way
    expected = [sum(low <= side < high for side in sides) for low, high in pairwise(bounds)]
    if not near:
        assert list(found.sides.values()) == expected and list(found.sides) == list(SIDE_NAMES)
        assert found.small == pytest.approx(sum(side < 16 for side in sides) / max(1, len(sides)))
    narrow = sum(aspect < 1 / 3 - 1e-9 for aspect in aspects)
    assert narrow <= found.aspects[ASPECT_NAMES[0]] <= narrow + aspects.count(1 / 3)
    assert sum(found.aspects.values()) == found.objects == len(sides)
    assert list(found.classes.values()) == classes
    assert (found.pictures, found.empty) == (len(pictures), sum(not boxes for *_, boxes in pictures))
    assert found.most == max((len(boxes) for *_, boxes in pictures), default=0)


def test_crowds_are_counted_apart(tmp_path):
    boxes = [(0, 0, 40, 40), (0, 0, 9, 9)]
    data = dataset(tmp_path, sample(tmp_path / "x", (64, 64), boxes, [0, 1], [False, True]))
    found = survey({"train": data}, size=(64, 64)).splits["train"]
    assert (found.objects, found.crowds, found.classes, found.small) == (1, 1, {"a": 1, "b": 0}, 0.0)


def test_a_right_data_set_gets_no_warning_but_for_what_is_so(tmp_path):
    found = survey({split: load_dataset(write_coco(tmp_path), split) for split in TRUTH}, size=(128, 128))
    assert [line.partition(":")[0] for line in found.warnings] == ["train", "train", "val", "val"]
    small, empty, absent, also_empty = found.warnings
    assert "33%" in small
    assert "1 of 3 pictures have no object" in empty and "b.png" in empty
    assert "no object of no" in absent and "1 of 2 pictures" in also_empty


def warnings(*samples, names=("a",), **options):
    data = CocoDataset(samples, names, tuple(range(1, len(names) + 1)), samples[0].path)
    return "\n".join(survey({"train": data}, size=(128, 128), **options).warnings)


def test_boxes_in_fractions_are_recognised_with_examples(tmp_path):
    boxes = [(0.1, 0.2, 0.5, 0.6), (0.5, 0.5, 1, 1)]
    said = warnings(*(sample(tmp_path / f"{name}.jpg", (200, 300), boxes) for name in "wxyz"))
    assert "train: 8 of 8 boxes lie in the first pixel; are they in fractions? COCO wants pixels" in said
    assert said.count("w.jpg [0.1, 0.2, 0.5, 0.6]") == 1 and said.count("z.jpg") == 0
    assert "fractions" not in warnings(sample(tmp_path / "x", (200, 300), [*boxes, *[(0, 0, 50, 50)] * 3]))


def test_corners_written_as_sides_are_one_line_with_examples(tmp_path):
    write_coco(tmp_path)
    file = tmp_path / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"] = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": [40 + number, 20, 70, 50 + number]}
        for number in range(1, 10)
    ]
    file.write_text(json.dumps(content))
    said = survey({"train": load_dataset(tmp_path, "train")}, size=(128, 128)).warnings
    (line,) = [line for line in said if "x1 y1 x2 y2" in line]
    assert line.startswith("train: 9 times the same; are they x1 y1 x2 y2?") and line.count("a.jpg") == 3
    quiet = survey({"train": load_dataset(tmp_path, "train")}, size=(128, 128), with_problems=False).warnings
    assert not any("x1 y1" in line for line in quiet)


def test_small_objects_are_reported_with_their_classes_for_the_canvas_that_is_asked(tmp_path):
    one = sample(tmp_path / "x", (1280, 1280), [(0, 0, 100, 100), (0, 0, 500, 500), (9, 9, 300, 300)], [0, 1, 1])
    said = warnings(one, names=("platelet", "cell"))
    assert "33% of the objects are smaller than 16 px on a canvas of 128x128 (100% of platelet)" in said
    data = dataset(tmp_path, one)
    assert survey({"train": data}, size=(256, 256)).warnings == ()
    assert survey({"train": data}, size=(128, 128), resize="original").warnings == ()


def test_boxes_that_are_there_twice_are_counted(tmp_path):
    boxes = [(10, 10, 50, 50), (10.1, 10, 50, 50.2), (10, 10, 50, 50), (11, 10, 50, 50)]
    assert "train: 2 boxes are there twice, such as x.jpg [10, 10, 50, 50]" in warnings(
        sample(tmp_path / "x.jpg", (64, 64), boxes)
    )
    assert "twice" not in warnings(sample(tmp_path / "x", (64, 64), boxes[:2], [0, 1]), names=("a", "b"))


def test_classes_that_training_lacks_and_classes_without_objects_are_named(tmp_path):
    train = dataset(tmp_path, sample(tmp_path / "x", (64, 64), [(0, 0, 40, 40)]), names=("Cat", "dog"))
    val = dataset(tmp_path, sample(tmp_path / "y", (64, 64), [(0, 0, 40, 40)]), names=("cat", "bird"))
    said = survey({"train": train, "val": val}, size=(64, 64)).warnings
    assert said == ("val: train lacks the classes bird", "train: no object of dog", "val: no object of bird")


def files(folder, contents):
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.jpg").write_bytes(content)
    return dataset(folder, *(sample(folder / f"{number}.jpg", (9, 9)) for number in range(len(contents))))


CONTENT = st.binary(max_size=2).map(lambda middle: b"s" * 5000 + middle + b"e" * 5000)


@settings(max_examples=25, deadline=None)
@given(train=st.lists(CONTENT, max_size=6), val=st.lists(CONTENT, max_size=4))
def test_the_same_pictures_are_those_whose_bytes_are_the_same(train, val, tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    splits = {"train": files(folder / "train", train), "val": files(folder / "val", val)}
    contents = {
        (split, data.samples[place].path): content
        for (split, data), given_contents in zip(splits.items(), (train, val))
        for place, content in enumerate(given_contents)
    }
    groups = {}
    for where, content in contents.items():
        groups.setdefault(content, []).append(where)
    expected = [group for group in groups.values() if len(group) > 1]
    found = [[(member.split, member.path) for member in group] for group in same_pictures(splits)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_training_pictures_in_validation_are_a_warning_by_any_name(tmp_path):
    train, val = files(tmp_path / "train", [b"one", b"two", b"two"]), files(tmp_path / "val", [b"six", b"two", b"one"])
    said = survey({"train": train, "val": val}, size=(9, 9)).warnings
    assert said[0].startswith("2 pictures are in train and in val, so a score on one says little, such as 0.jpg/2.jpg")
    assert said[1] == "train: 1 pictures are there again under another name, such as 1.jpg/2.jpg"
    (tmp_path / "train/0.jpg").unlink()
    (tmp_path / "val/2.jpg").unlink()
    assert (
        survey({"train": train, "val": train}, size=(9, 9)).warnings[0].startswith("1 pictures are in train and in val")
    )


def test_pictures_that_cannot_be_used_are_found(tmp_path):
    root = write_yolo(tmp_path)
    samples = load_dataset(root, "train").samples
    (root / "images/train/a.jpg").write_bytes((root / "images/train/a.jpg").read_bytes()[:300])
    (root / "images/train/b.png").write_bytes((root / "images/train/c.jpg").read_bytes())
    seen = []
    lines = unusable_pictures(samples, seen.append)
    assert len(seen) == 3 and len(lines) == 2
    assert "a.jpg" in lines[0] and "b.png: the image is 90x48 pixels, its annotation says 64x64" in lines[1]
    said = survey({"train": load_dataset(root, "val")}, size=(9, 9), unusable=lines).warnings[0]
    assert said.startswith("2 pictures cannot be used, such as ") and "b.png" in said


def test_the_short_form_is_a_few_lines(tmp_path):
    many = [sample(tmp_path / "x", (64, 64), [(0, 0, 40, 40)] * 2, [0, 0])] * 3
    splits = {"train": dataset(tmp_path, *many, names=tuple("abcdef")), "val": dataset(tmp_path, *many, names=("z",))}
    lines = survey(splits, size=(64, 64)).lines()
    assert lines[0] == "train: 3 pictures, 6 objects (6 a, 0 b, 0 c, 0 d and 2 more classes)"
    assert len(lines) <= 6 and lines[2].startswith("warning: ")


class Page(HTMLParser):
    """Open elements must be closed; links and scripts are noted."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text, self.tags = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_names_in_it_stay_text(tmp_path):
    evil = '<script>alert("x")</script>'
    data = dataset(tmp_path, sample(tmp_path / evil.replace("/", ""), (64, 64), [(0, 0, 9, 9)]), names=(evil, "b"))
    found = survey({evil: data}, size=(64, 64), dataset=evil, layout="COCO", unusable=[evil])
    text = survey_page(found, {evil: b"\xff\xd8jpeg"})
    page = Page()
    page.feed(text)
    assert page.open == [] and "script" not in page.tags and MARK in text[:200]
    assert page.links == ["data:image/jpeg;base64,/9hqcGVn"] and "url(" not in text and "@import" not in text
    assert page.text.count(evil) >= 5
    json.dumps(found.to_dict())


def test_a_data_set_of_nothing_has_a_survey_too(tmp_path):
    found = survey({"train": dataset(tmp_path)}, size=(64, 64))
    assert found.splits["train"].pictures == 0 and Page().feed(survey_page(found, {})) is None
