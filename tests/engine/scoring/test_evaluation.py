"""The evaluator against COCO's own reference numbers, and a detector scored on a data set made here."""

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture

from cornernet.engine.detector import Detector
from cornernet.engine.errors import DatasetError
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.evaluation import STATS, coco_stats, evaluate, match_classes, result_entries

EVALUATORS = ("pycocotools", "faster-coco-eval")


@pytest.fixture(params=EVALUATORS)
def evaluator(request):
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="extra `fast` is not installed")
    return request.param


@pytest.fixture(scope="module")
def reference(shared_data):
    folder = shared_data / "coco_eval_ref"
    return SimpleNamespace(
        truth=folder / "instances_val2014_100.json",
        results=folder / "instances_val2014_fakebbox100_results.json",
        expected=json.loads((folder / "expected_stats.json").read_text()),
        folder=folder,
    )


def truth_of(boxes_of_image, categories=((1, "cat"), (2, "dog"))):
    """{image id: [(category id, x, y, width, height)]} -> COCO content with the least that is allowed."""
    rows = [(image, *row) for image, boxes in boxes_of_image.items() for row in boxes]
    return {
        "images": [{"id": image} for image in boxes_of_image],
        "categories": [{"id": category, "name": name} for category, name in categories],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box}
            for number, (image, category, *box) in enumerate(rows)
        ],
    }


def as_results(truth, score=0.9):
    keys = ("image_id", "category_id", "bbox")
    return [{**{key: entry[key] for key in keys}, "score": score} for entry in truth["annotations"]]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("bbox", {}),
        ("bbox_useCats0", {"use_categories": False}),
        ("bbox_person_only", {"category_ids": [1]}),
    ],
)
def test_twelve_numbers_equal_the_published_ones(reference, evaluator, key, options):
    stats = coco_stats(reference.truth, reference.results, evaluator=evaluator, **options)
    assert stats.evaluator == evaluator
    assert [stats[name] for name in STATS] == pytest.approx(reference.expected[key], abs=1e-6)


def test_numbers_of_the_first_fifty_images_equal_the_published_ones(reference, evaluator):
    ids = sorted(image["id"] for image in json.loads(reference.truth.read_text())["images"])[:50]
    stats = coco_stats(reference.truth, reference.results, evaluator=evaluator, image_ids=ids)
    assert [stats[name] for name in STATS] == pytest.approx(reference.expected["bbox_first50_imgIds_sorted"], abs=1e-6)
    assert stats.images == 50


def test_numbers_of_each_class_equal_the_published_ones(reference, evaluator):
    stats = coco_stats(reference.truth, reference.results, evaluator=evaluator)
    expected = reference.expected["bbox_per_category_AP_AP50_AR100"]
    found = {str(entry.category_id): entry for entry in stats.per_class}
    assert len(found) == 80
    for category, numbers in expected.items():
        entry = found[category]
        assert pytest.approx(numbers, abs=1e-6) == [entry.AP, entry.AP50, entry.AR100]
    assert all(found[category].AP == -1 for category in set(found) - set(expected))


def test_ground_truth_whose_area_is_the_boxes_gives_the_numbers_of_the_second_reference(reference, evaluator):
    folder = reference.folder / "padilla"
    results = json.loads((folder / "sampled_bbox_results.json").read_text())["annotations"]
    stats = coco_stats(folder / "sampled_gts_bbox_area.json", results, evaluator=evaluator)
    expected = reference.expected["padilla_sampled"]
    assert [stats[name] for name in STATS] == pytest.approx(expected["pycocotools"], abs=1e-6)
    assert [stats[name] for name in STATS] == pytest.approx(expected["published"], abs=1e-6)


def test_mean_over_the_ten_thresholds_is_the_ap(reference, evaluator):
    stats = coco_stats(reference.truth, reference.results, evaluator=evaluator)
    assert list(stats.by_iou) == [f"{0.5 + 0.05 * step:.2f}" for step in range(10)]
    assert np.mean(list(stats.by_iou.values())) == pytest.approx(stats["AP"], abs=1e-6)
    assert stats.by_iou["0.50"] == pytest.approx(stats["AP50"], abs=1e-12)


def test_nothing_is_printed(evaluator, capfd):
    truth = truth_of({1: [(1, 0, 0, 10, 10)]})
    coco_stats(truth, as_results(truth), evaluator=evaluator)
    assert capfd.readouterr() == ("", "")


def test_no_detections_at_all_score_zero(evaluator):
    stats = coco_stats(truth_of({1: [(1, 0, 0, 10, 10)], 2: []}), [], evaluator=evaluator)
    assert stats["AP"] == stats["AR100"] == 0
    assert stats.detections == 0


def test_a_data_set_without_objects_scores_minus_one(evaluator):
    stats = coco_stats(truth_of({1: [], 2: []}), [], evaluator=evaluator)
    assert set(stats.values.values()) == {-1}


def test_the_truth_itself_scores_one_with_an_annotation_id_of_zero(evaluator):
    truth = truth_of({1: [(1, 0, 0, 10, 10)]})
    assert truth["annotations"][0]["id"] == 0  # the protocol's own code takes this one for unmatched
    assert coco_stats(truth, as_results(truth), evaluator=evaluator)["AP"] == pytest.approx(1)


def test_a_false_alarm_on_an_image_without_objects_lowers_precision(evaluator):
    truth = truth_of({1: [(1, 0, 0, 10, 10)], 2: []})
    alarm = {"image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.99}
    assert coco_stats(truth, [*as_results(truth), alarm], evaluator=evaluator)["AP"] == pytest.approx(0.5)


def test_a_box_on_a_crowd_is_neither_right_nor_wrong(evaluator):
    truth = truth_of({1: [(1, 0, 0, 10, 10), (1, 50, 50, 100, 100)]})
    truth["annotations"][1]["iscrowd"] = 1
    stats = coco_stats(truth, as_results(truth), evaluator=evaluator)
    assert stats["AP"] == pytest.approx(1)
    assert stats.objects == 1


def test_arguments_are_left_as_they_were(evaluator):
    truth = truth_of({1: [(1, 0, 0, 10, 10)]})
    results = as_results(truth)
    before = json.dumps([truth, results])
    coco_stats(truth, results, evaluator=evaluator)
    assert json.dumps([truth, results]) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "image id 5"),
        ({"score": float("nan")}, "finite"),
        ({"bbox": [0, 0, 5]}, "4 and 1 finite"),
        ({"bbox": None}, "not a COCO detection"),
    ],
)
def test_a_result_that_cannot_be_scored_is_refused(change, message):
    truth = truth_of({1: [(1, 0, 0, 10, 10)]})
    with pytest.raises(DatasetError, match=message):
        coco_stats(truth, [{**as_results(truth)[0], **change}])


@pytest.mark.parametrize("content", ["not json", '{"images": []}', "[]", '{"images": [{}], "categories": []}'])
def test_a_file_that_is_not_ground_truth_is_refused(tmp_path, content):
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(DatasetError):
        coco_stats(tmp_path / "truth.json", [])


def test_annotations_without_usable_numbers_are_left_out_as_when_loading(evaluator):
    truth = truth_of({1: [(1, 0, 0, 10, 10)] * 4})
    for entry, change in zip(
        truth["annotations"], ({"bbox": None}, {"bbox": [0, 0, float("nan"), 1]}, {"image_id": None})
    ):
        entry.update(change)
    stats = coco_stats(truth, as_results(truth)[3:], evaluator=evaluator)
    assert stats.objects == 1
    assert stats["AP"] == pytest.approx(1)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        coco_stats(tmp_path / "nowhere.json", [])


def test_an_unknown_evaluator_is_refused():
    with pytest.raises(ValueError, match="expected 'auto'"):
        coco_stats(truth_of({1: []}), [], evaluator="mine")


def data_set(folder, boxes_of_image, categories=((70, "Bright"), (3, "dark"))):
    """Pictures with one bright box each on disk, and what `evaluate` needs of a CocoDataset."""
    truth = truth_of(boxes_of_image, categories)
    (folder / "truth.json").write_text(json.dumps(truth))
    samples = []
    for image, boxes in boxes_of_image.items():
        height, width = 128, 128 + 128 * (image % 2)
        box = (boxes[0][1], boxes[0][2], boxes[0][1] + boxes[0][3], boxes[0][2] + boxes[0][4]) if boxes else None
        cv2.imwrite(str(folder / f"{image}.png"), picture(height, width, box))
        samples.append(SimpleNamespace(image_id=image, path=folder / f"{image}.png", height=height, width=width))
    return SimpleNamespace(
        samples=tuple(samples),
        class_names=tuple(name for _, name in categories),
        category_ids=tuple(category for category, _ in categories),
        annotation_file=folder / "truth.json",
        problems=("image 9: no such file",),
        mended={},
        from_coco=True,
    )


BOXES = {900: [(70, 10, 20, 40, 30)], 11: [(70, 64, 8, 32, 50)], 4: [], 23: [(70, 100, 30, 20, 20)]}
"""Sparse ids, two canvas sizes, an image without objects."""


def test_a_perfect_detector_scores_one_on_sparse_ids_and_empty_images(tmp_path, evaluator):
    done = []
    with Detector(FunctionBackend(bright_box)) as detector:
        report = evaluate(detector, data_set(tmp_path, BOXES), batch_size=2, progress=done.append, evaluator=evaluator)
    assert report.stats["AP"] == pytest.approx(1)
    assert sum(done) == 4
    assert [entry["image_id"] for entry in report.results] == [900, 11, 23]
    assert {entry["category_id"] for entry in report.results} == {70}
    assert any("dark" in note for note in report.notes)  # the model does not know it
    assert any("other" in note for note in report.notes)  # the data set does not have it
    assert "image 9: no such file" in report.notes


def test_an_unreadable_image_is_reported_and_counts_as_one_without_detections(tmp_path):
    data = data_set(tmp_path, BOXES)
    (tmp_path / "11.png").write_bytes(b"\x89PNG broken")
    with Detector(FunctionBackend(bright_box)) as detector:
        report = evaluate(detector, data)
    assert [image for image, _ in report.errors] == [str(tmp_path / "11.png")]
    assert report.failures[0].count("11.png") == 1
    unnamed = replace(report, errors=(("a.png", "out of memory"),))
    assert unnamed.failures == ("a.png: out of memory",)
    assert report.stats["AR100"] == pytest.approx(2 / 3)
    assert report.to_dict()["errors"][0]["image"].endswith("11.png")


def test_written_results_score_the_same_when_read_back(tmp_path):
    data = data_set(tmp_path, BOXES)
    with Detector(FunctionBackend(bright_box)) as detector:
        report = evaluate(detector, data)
    report.write_results(tmp_path / "results.json")
    assert coco_stats(data.annotation_file, tmp_path / "results.json").values == report.stats.values


def test_report_is_json(tmp_path):
    with Detector(FunctionBackend(bright_box)) as detector:
        report = evaluate(detector, data_set(tmp_path, BOXES))
    content = json.loads(json.dumps(report.to_dict()))
    assert content["values"]["AP"] == pytest.approx(1)
    assert content["per_class"][1]["name"] == "Bright"


def test_a_model_without_a_common_class_is_refused(tmp_path):
    with (
        Detector(FunctionBackend(bright_box, make_card(class_names=("cell", "vessel")))) as detector,
        pytest.raises(DatasetError, match=r"cell, vessel.*Bright, dark"),
    ):
        evaluate(detector, data_set(tmp_path, BOXES))


def test_classes_are_matched_by_name_whatever_the_ids_and_the_case():
    data = SimpleNamespace(class_names=("Dog ", "cat"), category_ids=(17, 18), annotation_file="truth.json")
    matched, notes = match_classes(("cat", "dog", "cow"), (17, 18, 19), data)
    assert matched == [18, 17, None]
    assert notes == ("classes the data set does not have, their detections are left out: cow",)


def test_the_id_decides_between_two_categories_of_one_name():
    data = SimpleNamespace(class_names=("cell", "cell"), category_ids=(1, 2), annotation_file="truth.json")
    assert match_classes(("cell",), (2,), data)[0] == [2]


def test_official_results_keep_their_two_decimals():
    found = Detections(np.array([[1.234, 2, 5.678, 9]]), np.array([0.987654]), np.array([0]), ("a",), (1,), decimals=2)
    entry = result_entries(found, 3, [44])[0]
    assert entry == {"image_id": 3, "category_id": 44, "bbox": [1.23, 2.0, 4.44, 7.0], "score": 0.99}
