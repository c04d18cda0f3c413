"""One systematic mistake is one line, whatever the numbers in it; different mistakes stay apart."""

import json

import cv2
import numpy as np

from cornernet.engine.scoring.coco import load_coco
from cornernet.engine.scoring.problem_groups import FEW, grouped


def test_boxes_written_as_corners_are_one_line_with_the_likely_reason(tmp_path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((100, 100, 3), np.uint8))
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": [40 + number, 50, 70 + number, 90]}
        for number in range(20)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [*annotations, {"id": 99, "image_id": 5, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    data = load_coco(tmp_path, "val")
    assert len(data.problems) == 21
    boxes, other = grouped(data.problems)
    assert boxes.startswith("20 times the same; are they x1 y1 x2 y2?") and boxes.count("annotation ") == 3
    assert "no usable image 5" in other


def test_few_lines_stay_as_they_are_and_order_is_kept():
    lines = [f"image {number}: /a/{number}.png does not exist; left out" for number in range(FEW)]
    assert grouped(["first", *lines, "last"]) == ["first", *lines, "last"]
    assert len(grouped([*lines, "image 77: /b/x.png does not exist; left out"])) == 1
    assert grouped([]) == []


def test_the_hint_is_about_the_layout_that_the_lines_are_from():
    lines = "annotation {} of image {} (a.jpg): {} [1, 2, 3, 4] lies outside the image of 5x6 pixels; left out"
    for field, words in (("bbox", "COCO wants x y width height"), ("box", "were the pictures resized")):
        (line,) = grouped([lines.format(number, number, field) for number in range(9)])
        assert line.startswith("9 times the same; ") and words in line
