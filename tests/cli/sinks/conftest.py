"""A model that finds the bright box, photographs and a clip."""

import cv2
import pytest
from fake_backends import make_card, picture, write_onnx
from predict_runs import BOX


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128)))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number in range(6):
        cv2.imwrite(str(folder / f"{number}.png"), picture(100, 120, BOX if number % 2 else None))
    cv2.imwrite(str(folder / "deep" / "7.png"), picture(100, 120, BOX))
    return folder


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for number in range(7):
        writer.write(picture(96, 128, (10 + number, 20, 60, 90)))
    writer.release()
    return path
