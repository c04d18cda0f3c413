"""Drawn shapes: exact boxes, the same files for the same seed, nobody's files overwritten."""

import hashlib
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cornernet.engine.errors import DatasetError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data import shapes
from cornernet.trainer.data.shapes import CLASSES, GRID, MAX_OBJECTS, draw_scene, generate_shapes


def digests(folder):
    return {file.relative_to(folder): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.rglob("*")) if file.is_file()}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=60, val=10, test=3, seed=1)


def test_every_split_is_a_coco_data_set_without_problems(drawn):
    for split, count in (("train", 60), ("val", 10), ("test", 3)):
        data = load_coco(drawn, split)
        assert len(data.samples) == count and not data.problems
        assert data.class_names == CLASSES
        for sample in data.samples:
            assert cv2.imread(str(sample.path)).shape == (sample.height, sample.width, 3)
            assert 120 <= sample.height <= 160 and 120 <= sample.width <= 160
            assert 1 <= len(sample.boxes) <= MAX_OBJECTS and not sample.crowd.any()


def test_classes_and_sizes_are_varied(drawn):
    samples = load_coco(drawn, "train").samples
    counts = np.bincount(np.concatenate([sample.labels for sample in samples]), minlength=3)
    assert counts.min() > 0.2 * counts.sum()
    boxes = np.concatenate([sample.boxes for sample in samples])
    longest = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert np.percentile(longest, 10) < 30 and np.percentile(longest, 90) > 55
    assert {len(sample.boxes) for sample in samples} == set(range(1, MAX_OBJECTS + 1))


def test_sizes_of_objects_can_be_asked_for(tmp_path):
    folder = generate_shapes(tmp_path / "sizes", train=12, val=0, seed=2, size=(160, 160), vary=0.1, objects=(4, 100))
    boxes = np.concatenate([sample.boxes for sample in load_coco(folder, "train").samples])
    longest = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert longest.min() < 8 and longest.max() > 60
    assert "objects" in json.loads((folder / "shapes.json").read_text())
    with pytest.raises(DatasetError, match="2 to 101 px"):
        generate_shapes(tmp_path / "wrong", size=(160, 160), vary=0.1, objects=(4, 120))


def test_some_objects_overlap(drawn):
    def overlapping(boxes):
        return any(
            min(a[2], b[2]) - max(a[0], b[0]) > 3 and min(a[3], b[3]) - max(a[1], b[1]) > 3
            for place, a in enumerate(boxes)
            for b in boxes[:place]
        )

    samples = load_coco(drawn, "train").samples
    assert sum(overlapping(sample.boxes) for sample in samples) > 0.2 * len(samples)


@pytest.mark.parametrize("seed", range(12))
def test_a_box_is_tight_around_what_is_visible_of_its_object(monkeypatch, seed):
    """Each object in a grey of its own: the pixels tell the box, but for tips that are thinner than a pixel."""
    grey = iter(range(0, 251, 35))
    monkeypatch.setattr(
        shapes, "_texture", lambda rng, colour, size, strength: np.full((*size, 3), next(grey), np.float32)
    )
    monkeypatch.setattr(shapes, "_paint", paint_whole_pixels)
    scene = draw_scene(SilentNoise(np.random.default_rng(seed)), (100, 140))
    for place, box in enumerate(scene.boxes):
        rows, columns = np.nonzero(scene.image[..., 0] == 35 * (place + 1))
        pixels = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert np.abs(box - pixels).max() <= 1.5
        assert (box * GRID == np.round(box * GRID)).all()


class SilentNoise:
    """A generator whose image noise is zero."""

    def __init__(self, rng):
        self._rng = rng

    def __getattr__(self, name):
        return getattr(self._rng, name)

    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def paint_whole_pixels(image, mask, surface):
    """Colour every pixel whose middle the object covers."""
    middle = mask[GRID // 2 :: GRID, GRID // 2 :: GRID, None]
    return np.where(middle > 0, surface, image)


def test_an_axis_aligned_rectangle_has_the_box_that_its_grid_points_cover():
    mask = np.zeros((40, 60), np.uint8)
    mask[4:20, 7:33] = 1
    assert shapes._box(mask) == [7 / GRID, 1.0, 33 / GRID, 5.0]


def test_objects_lie_inside_and_fill_their_outline(monkeypatch):
    """The grid mask has the area of the polygon: nothing is lost or gained by rasterising."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label = seed % 3
        kept = []
        outline = shapes._outline

        def remember(*arguments, kept=kept, outline=outline):
            kept.append(outline(*arguments))
            return kept[-1].copy()

        monkeypatch.setattr(shapes, "_outline", remember)
        mask = shapes._place_object(rng, label, (120, 150), 0.14 * 120, 0.6 * 120)
        monkeypatch.setattr(shapes, "_outline", outline)
        x, y = kept[0].T
        area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        perimeter = np.hypot(np.diff(x, append=x[0]), np.diff(y, append=y[0])).sum()
        assert mask.sum() / GRID**2 == pytest.approx(area, abs=perimeter / GRID)
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        box = np.array(shapes._box(mask))
        np.testing.assert_allclose(box[2:] - box[:2], np.ptp(kept[0], axis=0), atol=2 / GRID)


@pytest.mark.parametrize("hidden", ["half", "split"])
def test_an_object_that_is_hidden_too_far_or_cut_in_two_is_not_accepted(hidden):
    back, front = np.zeros((2, 160, 160), np.uint8)
    back[40:80, 20:140] = 1
    if hidden == "half":
        front[30:90, 20:80] = 1
    else:
        front[30:90, 70:90] = 1
    assert shapes._all_recognisable([back])
    assert not shapes._all_recognisable([back, front])


def test_an_object_may_hide_a_corner_of_another():
    back, front = np.zeros((2, 160, 160), np.uint8)
    back[40:80, 20:140] = 1
    front[60:120, 100:150] = 1
    assert shapes._all_recognisable([back, front])


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path):
    one, two, other = (
        generate_shapes(tmp_path / name, train=4, val=2, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert digests(one) == digests(two)
    assert digests(one)[one.relative_to(one) / "images" / "train_000000.jpg"] not in digests(other).values()


def test_splits_do_not_share_images(drawn):
    images = digests(drawn / "images")
    assert len(set(images.values())) == len(images) == 73


def test_a_larger_set_begins_with_the_images_of_a_smaller_one(tmp_path):
    small = digests(generate_shapes(tmp_path / "small", train=3, val=0) / "images")
    large = digests(generate_shapes(tmp_path / "large", train=6, val=0) / "images")
    assert small.items() <= large.items()


def test_fixed_sizes_can_be_asked_for(tmp_path):
    data = load_coco(generate_shapes(tmp_path, train=4, val=0, size=(64, 96), vary=0), "train")
    assert {(sample.height, sample.width) for sample in data.samples} == {(64, 96)}


def test_a_finished_directory_is_left_as_it_is_and_an_unfinished_one_completed(tmp_path):
    generate_shapes(tmp_path, train=3, val=1)
    before = digests(tmp_path)
    stamp = (tmp_path / "images" / "train_000000.jpg").stat().st_mtime_ns
    generate_shapes(tmp_path, train=3, val=1)
    assert (tmp_path / "images" / "train_000000.jpg").stat().st_mtime_ns == stamp
    (tmp_path / "shapes.json").write_text("{")
    (tmp_path / "images" / "train_000001.jpg").unlink()
    generate_shapes(tmp_path, train=3, val=1)
    assert digests(tmp_path) == before


def test_a_smaller_set_leaves_nothing_of_a_larger_one_but_all_of_yours(tmp_path):
    generate_shapes(tmp_path, train=5, val=2)
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"mine")
    generate_shapes(tmp_path, train=2, val=0)
    names = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    expected = {"train_000000.jpg", "train_000001.jpg", "instances_train.json", "shapes.json", "holiday.jpg"}
    assert names == expected


def test_a_directory_of_somebody_else_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="left alone"):
        generate_shapes(tmp_path, train=1, val=0)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"train": -1}, {"train": 0, "val": 0}, {"size": (8, 100)}, {"vary": 0.9}])
def test_impossible_requests_are_refused(tmp_path, wrong):
    with pytest.raises(DatasetError, match="expected at least one image"):
        generate_shapes(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DatasetError, match="Is the disk full"):
        generate_shapes(tmp_path / "new", train=1, val=0)
    assert "complete" not in json.loads((tmp_path / "new" / "shapes.json").read_text())


def test_drawing_is_quick(tmp_path):
    start = time.process_time()
    generate_shapes(tmp_path / "new", train=20, val=0)
    assert time.process_time() - start < 2  # 0.2 s when nothing else runs
