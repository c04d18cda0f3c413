"""The model of Triton's Python backend, driven as the backend drives it: `execute` with requests of any kind."""

import json

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture
from fake_triton import InferenceResponse, Request, Tensor, TritonError, import_model

from cornernet.engine.detector import Detector
from cornernet.engine.model_card import OUTPUTS

CARD = make_card(train_size=(128, 128))
PICTURES = [picture(100, 120, (10, 20, 60, 90)), picture(64, 200, (5, 6, 90, 40)), picture(80, 80)]


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


class Network:
    """The other model of the server: finds the bright box, counts as Triton has them."""

    def __init__(self):
        self.backend = FunctionBackend(bright_box, CARD)
        self.broken = False

    def __call__(self, canvases):
        if self.broken:
            return InferenceResponse([], error=TritonError("out of memory"))
        raw = self.backend.run(canvases)._asdict()
        raw["counts"] = raw["counts"][:, None]
        return InferenceResponse([Tensor(name, raw[name]) for name in OUTPUTS])


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def start(network, tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1/card.json").write_text(CARD.to_json(), encoding="utf-8")
    module = import_model(monkeypatch, {"cornernet_network": network})
    started = []

    def start(**settings):
        parameters = {"network": "cornernet_network", "settings": json.dumps(settings)}
        config = {
            "max_batch_size": 2,
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }
        arguments = {
            "model_config": json.dumps(config),
            "model_repository": str(tmp_path),
            "model_version": "1",
        }
        model = module.TritonPythonModel()
        model.initialize(arguments)
        started.append(model)
        return model

    yield start
    for model in started:
        model.finalize()


def encoded(*files):
    return Request(encoded=np.array([[file] for file in files], object))


def test_each_request_gets_the_boxes_that_a_detector_gives_to_its_pictures(start, network):
    model = start(score_threshold=0.3)
    requests = [encoded(*map(png, PICTURES)), Request(pixels=PICTURES[1][None]), encoded(png(PICTURES[0]))]
    answers = model.execute(requests)
    assert max(shape[0] for shape in network.backend.shapes) == 2  # max_batch_size
    with Detector(FunctionBackend(bright_box, CARD), score_threshold=0.3) as detector:
        expected = detector.predict(PICTURES)
    for answer, wanted in zip(answers, [expected, expected[1:2], expected[:1]], strict=True):
        assert answer.values("counts").tolist() == [[len(one)] for one in wanted]
        for image, one in enumerate(wanted):
            count = len(one)
            for name in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(answer.values(name)[image, :count], getattr(one, name))
                unused = answer.values(name)[image, count:]
                assert (unused == (0 if name == "boxes" else -1)).all()
            assert [name.decode() for name in answer.values("names")[image, :count]] == list(one.names)
            assert tuple(answer.values("image_size")[image]) == one.image_size
        assert answer.values("errors").tolist() == [[b""]] * len(wanted)


def test_types_and_shapes_are_those_of_the_configuration(start):
    (answer,) = start().execute([encoded(png(PICTURES[2]), png(PICTURES[2]))])
    found = {name: (tensor.as_numpy().shape, tensor.as_numpy().dtype) for name, tensor in answer.tensors.items()}
    assert found == {
        "boxes": ((2, 0, 4), np.float32),
        "scores": ((2, 0), np.float32),
        "labels": ((2, 0), np.int32),
        "names": ((2, 0), object),
        "counts": ((2, 1), np.int32),
        "image_size": ((2, 2), np.int32),
        "errors": ((2, 1), object),
    }


def test_a_picture_that_cannot_be_read_says_so_and_the_others_get_their_boxes(start):
    (answer,) = start().execute([encoded(png(PICTURES[0]), b"nonsense", b"", png(PICTURES[1]))])
    assert answer.values("counts").ravel().tolist() == [1, 0, 0, 1]
    assert [bool(error) for (error,) in answer.values("errors")] == [False, True, True, False]
    assert answer.values("image_size")[1].tolist() == [0, 0]


def test_a_request_with_no_input_or_both_or_nothing_in_it_is_refused_alone(start):
    good = encoded(png(PICTURES[0]))
    both = Request(encoded=np.array([[b"x"]], object), pixels=PICTURES[0][None])
    first, second, third, fourth = start().execute(
        [Request(), good, both, Request(pixels=np.zeros((0, 9, 9, 3), np.uint8))]
    )
    assert first.has_error() and third.has_error() and "expected one of two" in first.error().message()
    assert second.values("counts").tolist() == [[1]]
    assert "no pictures came" in fourth.error().message()


def test_a_network_that_fails_is_the_error_of_its_pictures(start, network):
    network.broken = True
    (answer,) = start().execute([encoded(png(PICTURES[0]))])
    assert answer.values("errors").tolist() == [[b"Triton's model cornernet_network failed: out of memory"]]


def test_settings_are_the_detectors(start):
    model = start(resize="fit", size=[256, 128], mirror=True)
    model.execute([encoded(png(PICTURES[0]))])
    with pytest.raises(ValueError, match="expected"):
        start(resize="half")
