"""Our Detections in supervision (extra `viz`): the same boxes, and objects followed through a video by its tracker."""

import warnings

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, picture

from cornernet.engine.detector import Detector
from cornernet.engine.results.detections import Detections

supervision = pytest.importorskip("supervision", reason="supervision (extra `viz`) is not installed")


@pytest.mark.parametrize("count", [0, 2])
def test_it_takes_boxes_scores_classes_and_names(count):
    found = Detections([[10, 20, 30.5, 60], [0, 0, 5, 5]], [0.875, 0.25], [1, 0], ("cat", "dog"))[:count]
    boxes = found.to_supervision()
    assert len(boxes) == count and boxes.xyxy.tolist() == found.boxes.tolist()
    assert boxes.class_id.tolist() == found.labels.tolist()
    np.testing.assert_array_equal(boxes.confidence, found.scores)
    assert list(boxes["class_name"]) == list(found.names)
    assert len(boxes[boxes.confidence > 0.5]) == min(count, 1)


def test_its_annotator_draws_them():
    found = Detections([[10, 10, 40, 40]], [0.9], [0], ("cat",))
    image = picture(60, 60)
    assert supervision.BoxAnnotator().annotate(image.copy(), found.to_supervision()).any()


def tracker():
    """ByteTrack: in supervision before 0.31, in the package `trackers` since."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(supervision, "ByteTrack"):
            return supervision.ByteTrack(frame_rate=10).update_with_detections
    trackers = pytest.importorskip("trackers", reason="the package `trackers` is not installed")
    return trackers.ByteTrackTracker(frame_rate=10).update


def test_one_object_that_moves_through_a_clip_keeps_its_number(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 96))
    for number in range(12):
        writer.write(picture(96, 160, (10 + 4 * number, 20, 60 + 4 * number, 70)))
    writer.release()
    update = tracker()
    numbers = []
    for found in Detector(FunctionBackend(bright_box)).stream(tmp_path / "clip.avi"):
        numbers += update(found.to_supervision()).tracker_id.tolist()
    numbers = [number for number in numbers if number >= 0]  # not confirmed yet: none, or -1
    assert len(numbers) >= 10 and len(set(numbers)) == 1
