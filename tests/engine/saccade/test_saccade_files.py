"""A file whose card says that it is a Saccade, through the runtimes and the command line."""

import json

import cv2
import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx
from saccade_onnx import write_saccade
from typer.testing import CliRunner

from cornernet import Detector
from cornernet.cli import app
from cornernet.engine.backends import SaccadeDetections
from cornernet.engine.errors import ModelError


@pytest.fixture
def model(tmp_path):
    return write_saccade(tmp_path / "saccade.onnx")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_is_opened_and_looks_twice(model, runtime):
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    with Detector(model, runtime=runtime) as detector:
        raw = detector.backend.run(np.zeros((3, 255, 255, 3), np.uint8))
        assert isinstance(raw, SaccadeDetections) and raw.attention_scores.shape == (3, 3, 4)
        found = detector.predict([picture(480, 640, (300, 200, 380, 240)), picture(480, 640)], batch_size=3)
    assert [one.error for one in found] == [None, None]
    assert found[0].boxes[0] == pytest.approx((300, 200, 380, 240), abs=4) and len(found[1]) == 0


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_stream_of_one_picture_at_a_time_gives_the_boxes_of_large_batches(model, runtime):
    pytest.importorskip(runtime)
    pictures = [picture(480, 640, (300, 200, 380, 240)), picture(333, 500, (30, 20, 180, 140)), picture(200, 100)]
    with Detector(model, runtime=runtime) as detector:
        singly = list(detector.stream(iter(pictures), batch_size=1))
        for one, other in zip(singly, detector.predict(pictures, batch_size=64), strict=True):
            assert one.error is other.error is None and len(one) == len(other)
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
    assert [len(one) > 0 for one in singly] == [True, True, False]


def test_a_file_without_its_attention_is_refused_by_name(tmp_path):
    path = write_onnx(tmp_path / "plain.onnx", make_card(size_multiple=32, train_size=(255, 255), saccade={}))
    with pytest.raises(ModelError, match="no output 'attention_scores' among boxes"):
        Detector(path)


def test_the_command_line_predicts_evaluates_and_describes_it(model, tmp_path):
    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    cv2.imwrite(str(folder / "images/a.png"), picture(480, 640, (300, 200, 380, 240)))
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "width": 640, "height": 480}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [300, 200, 80, 40], "area": 3200, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "class 0"}, {"id": 2, "name": "class 1"}],
    }
    (folder / "annotations/instances_val.json").write_text(json.dumps(truth))
    assert "up to 30 crops at 1, 2, 4 times" in run("info", model)
    found = tmp_path / "found.jsonl"
    run("predict", model, folder / "images", "--json", found, "--max-crops", 2)
    assert json.loads(found.read_text())["detections"][0]["box"] == pytest.approx([300, 200, 380, 240], abs=4)
    run("evaluate", model, folder, "--json", tmp_path / "ap.json", "--max-crops", 0, "--protocol", "official")
    numbers = json.loads((tmp_path / "ap.json").read_text())
    assert numbers["settings"]["max_crops"] == 0
