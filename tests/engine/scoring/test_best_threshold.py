"""The threshold with the best F1, against counting at every threshold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_engine import iou

from cornernet.engine.scoring.best_threshold import BestF1, best_thresholds, class_thresholds, match_classes_apart


def entry(image, category, box, score=None, crowd=0):
    x, y, width, height = box
    own = {"image_id": image, "category_id": category, "bbox": [x, y, width, height]}
    return {**own, "iscrowd": crowd} if score is None else {**own, "score": score}


def corners(box):
    x, y, width, height = box
    return x, y, x + width, y + height


def f1_at(threshold, objects, found):
    """Counted anew from the boxes that are left at this threshold."""
    right = shown = 0
    for key in {(row["image_id"], row["category_id"]) for row in found}:
        free = [row["bbox"] for row in objects if (row["image_id"], row["category_id"]) == key]
        mine = [row for row in found if (row["image_id"], row["category_id"]) == key and row["score"] >= threshold]
        for row in sorted(mine, key=lambda row: -row["score"]):
            shown += 1
            overlaps = [iou(corners(row["bbox"]), corners(box)) for box in free]
            if overlaps and max(overlaps) >= 0.5:
                right += 1
                free.pop(int(np.argmax(overlaps)))
    return 2 * right / (shown + len(objects)) if objects else 0.0


BOX = st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 3)] * 2)
ROWS = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), BOX, st.integers(1, 9)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_no_other_threshold_has_a_better_f1(objects, found):
    truth = [entry(image, category, box) for image, category, box, _ in objects]
    boxes = [entry(image, category, box, score / 10) for image, category, box, score in found]
    content = {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "annotations": truth}
    for best in best_thresholds(match_classes_apart(content, boxes)):
        own = [row for row in truth if best.category_id in (None, row["category_id"])]
        with_objects = {row["category_id"] for row in own}
        mine = [row for row in boxes if row["category_id"] in with_objects]
        every = [f1_at(threshold, own, mine) for threshold in np.arange(0.05, 1, 0.1)]
        assert best.F1 == pytest.approx(max(every)) == pytest.approx(f1_at(best.threshold, own, mine))
        assert pytest.approx(2 * best.precision * best.recall / (best.precision + best.recall)) == best.F1


def test_a_box_in_a_crowd_is_neither_right_nor_wrong_and_what_was_never_found_has_no_threshold():
    truth = [entry(1, 1, (0, 0, 10, 10)), entry(1, 1, (50, 50, 40, 40), crowd=1), entry(1, 2, (0, 0, 5, 5))]
    found = [entry(1, 1, (0, 0, 10, 10), 0.4), entry(1, 1, (55, 55, 10, 10), 0.9), entry(1, 1, (70, 70, 10, 10), 0.8)]
    content = {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "annotations": truth}
    overall, first = best_thresholds(match_classes_apart(content, found))
    assert (first.name, first.F1, first.objects, first.found, first.threshold) == ("a", 1, 1, 1, 0.2)
    assert (overall.category_id, overall.recall) == (None, 0.5)


def test_on_coco_s_own_reference_the_f1_is_that_of_its_evaluators_matches(shared_data):
    pytest.importorskip("pycocotools", reason="extra `evaluate` is not installed")
    from cornernet.engine.scoring.coco_stats import _index, _results, find_evaluator, numeric_truth

    folder = shared_data / "coco_eval_ref"
    truth_file, found_file = (folder / f"instances_val2014_{name}.json" for name in ("100", "fakebbox100_results"))
    truth = numeric_truth(json.loads(truth_file.read_text()))
    images = {image["id"] for image in truth["images"]}
    found = [row for row in json.loads(found_file.read_text()) if row["image_id"] in images]
    _, coco_class, eval_class = find_evaluator("pycocotools")
    boxes = _results(found, images)
    run = eval_class(_index(coco_class, truth), _index(coco_class, {**truth, "annotations": boxes}), "bbox")
    run.evaluate()
    everything = run.params.areaRng[0]
    matched = []
    for result in run.evalImgs:
        if result is not None and result["aRng"] == everything:
            counted = ~result["dtIgnore"][0].astype(bool)
            matched += zip(np.array(result["dtScores"])[counted], (result["dtMatches"][0] > 0)[counted])
    overall = best_thresholds(match_classes_apart(truth, found))[0]
    shown = [hit for score, hit in matched if score >= overall.threshold]
    assert overall.found == sum(shown) > 100
    assert overall.objects == sum(not row["iscrowd"] for row in truth["annotations"])


def test_each_class_gets_its_own_threshold_and_one_without_the_threshold_of_all():
    rest = {"F1": 0.5, "precision": 0.5, "recall": 0.5, "objects": 4, "found": 4}
    ids = {"all": None, "cat": 7, "Dog": 9}
    best = [BestF1(name, ids[name], at, **rest) for name, at in (("all", 0.4), ("cat", 0.3), ("Dog", 0.6))]
    assert class_thresholds(best, ("dog", "bird", "cat")) == (0.6, 0.4, 0.3)
    assert class_thresholds([], ("dog",)) is None
