"""Curves over recall and threshold, and the confusion table, against COCO's AP50 and against counting anew."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_engine import iou

from cornernet.engine.scoring.best_threshold import best_thresholds, match_classes_apart
from cornernet.engine.scoring.coco_stats import coco_stats, numeric_truth
from cornernet.engine.scoring.confusion import confusion
from cornernet.engine.scoring.curves import curves
from cornernet.engine.scoring.evaluation import json_text

NAMES = {1: "a", 2: "b"}
BOX = st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(1, 3)] * 2)
ROWS = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), BOX), max_size=10)


def entries(rows, scores=None):
    """Scores, where given, all different: boxes of one score have no order."""
    made = [{"image_id": image, "category_id": category, "bbox": list(box)} for image, category, box in rows]
    if scores is None:
        return [{**entry, "iscrowd": 0} for entry in made]
    return [{**entry, "score": score} for entry, score in zip(made, scores)]


def content(objects):
    images = [{"id": 1}, {"id": 2}]
    return {"images": images, "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
            "annotations": objects}  # fmt: skip


def corners(entry):
    x, y, width, height = entry["bbox"]
    return x, y, x + width, y + height


def pairs_counted_anew(objects, boxes):
    """(class there or None, class said or None) -> number; first by class, then whatever overlaps."""
    pairs, objects, boxes = Counter(), list(objects), sorted(boxes, key=lambda row: -row["score"])
    for same in (True, False):
        for box in list(boxes):
            fits = [
                (iou(corners(box), corners(one)), one)
                for one in objects
                if one["image_id"] == box["image_id"] and (not same or one["category_id"] == box["category_id"])
            ]
            overlap, taken = max(fits, key=lambda pair: pair[0], default=(0, None))
            if overlap >= 0.5:
                pairs[taken["category_id"], box["category_id"]] += 1
                objects = [one for one in objects if one is not taken]
                boxes = [one for one in boxes if one is not box]
    pairs.update((one["category_id"], None) for one in objects)
    pairs.update((None, box["category_id"]) for box in boxes)
    return pairs


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, st.permutations(range(1, 11)))
def test_the_confusion_table_counts_each_object_and_each_shown_box_once(objects, found, order):
    there = entries(objects)
    boxes = entries(found, [place / 10.5 for place in order])
    best = best_thresholds(match_classes_apart(content(there), boxes))
    table = confusion(content(there), boxes, best)
    if table is None:
        assert not best
        return
    assert table.names == ("a", "b")
    shown = [box for box in boxes if box["score"] >= table.thresholds[box["category_id"] - 1]]
    keys = (1, 2, None)
    expected = pairs_counted_anew(there, shown)
    assert table.counts == tuple(tuple(expected[row, column] for column in keys) for row in keys)
    counts = np.array(table.counts)
    assert counts[:2].sum() == len(there) and counts[:, :2].sum() == len(shown)
    for one in best[1:]:
        assert counts[one.category_id - 1, one.category_id - 1] == one.found


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, st.permutations(range(1, 11)))
def test_each_point_of_an_f1_curve_is_what_counting_at_that_threshold_gives(objects, found, order):
    there = entries(objects)
    boxes = entries(found, [place / 10.5 for place in order])
    for curve in curves(match_classes_apart(content(there), boxes))[1:]:
        own = [one for one in there if one["category_id"] == curve.category_id]
        for threshold in (0, 0.33, 0.5, 0.95, 1):
            shown = [box for box in boxes if box["category_id"] == curve.category_id and box["score"] >= threshold]
            right = pairs_counted_anew(own, shown)[curve.category_id, curve.category_id]
            assert curve.F1[round(100 * threshold)] == pytest.approx(2 * right / (len(own) + len(shown)), abs=1e-4)


def test_the_mean_of_a_precision_curve_is_the_ap50_that_the_coco_evaluator_gives(shared_data):
    pytest.importorskip("pycocotools", reason="extra `evaluate` is not installed")
    folder = shared_data / "coco_eval_ref"
    truth_file, found_file = (folder / f"instances_val2014_{name}.json" for name in ("100", "fakebbox100_results"))
    truth = numeric_truth(json.loads(truth_file.read_text()))
    images = {image["id"] for image in truth["images"]}
    found = [row for row in json.loads(found_file.read_text()) if row["image_id"] in images]
    stats = coco_stats(truth, found, evaluator="pycocotools")
    measured = {curve.category_id: np.mean(curve.precision) for curve in curves(match_classes_apart(truth, found))}
    expected = {entry.category_id: entry.AP50 for entry in stats.per_class if entry.objects}
    assert len(expected) > 50
    assert {key: measured[key] for key in expected} == pytest.approx(expected, abs=1e-4)


def test_numbers_stay_on_one_line_and_texts_as_they_are():
    made = {"curve": [0.5, 1, -1e-05, 0.0], "names": ["[\n 1,\n 2]", "x"], "deep": [[1, 2], [3]], "none": []}
    text = json_text(made)
    assert json.loads(text) == made
    assert '"curve": [0.5, 1, -1e-05, 0.0]' in text and "[3]" in text
