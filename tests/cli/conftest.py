"""A model that finds the bright box, and a small data set, for tests of the command line."""

import json

import cv2
import pytest
from fake_backends import make_card, picture, write_onnx


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128), versions={"cornernet": "9.9"}))


@pytest.fixture
def data(tmp_path):
    """A data set of three pictures; the last has no object."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for number, box in enumerate([(10, 20, 60, 90), (40, 8, 100, 60), None], start=1):
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture(100, 120, box))
        images.append({"id": number, "file_name": f"{number}.png", "width": 120, "height": 100})
        if box:
            x1, y1, x2, y2 = box
            entry = {"id": number, "image_id": number, "category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append({**entry, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
    categories = [{"id": 7, "name": "bright"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return root
