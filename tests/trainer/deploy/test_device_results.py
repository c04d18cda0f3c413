"""Batches that come back final, and results that stay where the model runs: the same boxes as from the host."""

import numpy as np
import pytest
import torch
from fake_backends import FunctionBackend, bright_box, make_card, picture
from lively_network import card_of, lively_network

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.results.detections import Detections
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.torch_backend import TorchBackend

SETTINGS = {
    "fit": {"size": (64, 96)},
    "original": {"resize": "original"},
    "plain": {"size": (64, 96), "soft_nms": None, "max_per_image": 5},
    "linear": {"size": (64, 96), "soft_nms": "linear", "score_threshold": 0.3},
    "hard": {"resize": "original", "soft_nms": "hard", "score_threshold": 0.1},
    "mmdetection": {"protocol": "mmdetection"},
}


@pytest.fixture(scope="module")
def backend():
    network = lively_network()
    return TorchBackend(network, card_of(network))


@pytest.fixture(scope="module")
def images():
    sizes = [(64, 96), (50, 90), (64, 96), (96, 64)]
    return [drawn_images(seed, 1, *size)[0] for seed, size in enumerate(sizes)]


def assert_same(found: list[Detections], wanted: list[Detections]) -> None:
    assert [each.error for each in found] == [each.error for each in wanted]
    for got, expected in zip(found, wanted, strict=True):
        assert (got.image_size, got.index, got.path) == (expected.image_size, expected.index, expected.path)
        np.testing.assert_array_equal(got.labels, expected.labels)
        np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5)
        np.testing.assert_allclose(got.boxes, expected.boxes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_boxes_are_those_of_the_host_in_its_order(backend, images, settings):
    settings = {"score_threshold": 0.0, "threads": 2, **settings}
    wanted = Detector(backend, **settings).predict(images, batch_size=2)
    assert any(len(each) for each in wanted)
    detector = Detector(backend, device_postprocessing=True, **settings)
    assert_same(detector.predict(images, batch_size=2), wanted)
    assert_same(list(detector.stream(images, batch_size=3)), wanted)
    for plain_or_not in (detector, Detector(backend, **settings)):
        kept = plain_or_not.predict(images, batch_size=2, results="device")
        assert all(isinstance(each.boxes, torch.Tensor) and each.boxes.shape == (len(each), 4) for each in kept)
        assert_same([each.to_host() for each in kept], wanted)
    assert_same([each.to_host() for each in detector.stream(iter(images), results="device")], wanted)


def test_thresholds_of_classes_hold_on_batches_that_come_back_final(backend, images):
    name, *_ = backend.card.class_names
    settings = {"size": (64, 96), "score_threshold": {name: 0.9}}
    wanted = Detector(backend, **settings).predict(images)
    detector = Detector(backend, device_postprocessing=True, **settings)
    assert_same(detector.predict(images), wanted)
    with pytest.raises(BackendError, match="differs from class to class, give one number"):
        detector.predict(images, results="device")


def test_evaluation_sees_boxes_of_every_score(backend, images):
    detector = Detector(backend, size=(64, 96), device_postprocessing=True)
    assert_same(
        detector.for_evaluation().predict(images), Detector(backend, size=(64, 96)).for_evaluation().predict(images)
    )
    assert sum(map(len, detector.for_evaluation().predict(images))) > sum(map(len, detector.predict(images)))


def test_tensors_are_the_callers_own_and_outlive_the_detector(backend, images):
    with Detector(backend, size=(64, 96), score_threshold=0.0) as detector:
        (first,) = detector.predict(images[0], results="device")
        before = first.boxes.clone()
        detector.predict(images, results="device")
    assert torch.equal(first.boxes, before)
    weight = torch.ones(4, requires_grad=True)
    (first.boxes * weight).sum().backward()  # no tensor of inference mode, which autograd refuses
    assert weight.grad is not None


def test_an_image_that_cannot_be_used_has_an_error_and_no_arrays(backend, images, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    detector = Detector(backend, size=(64, 96), score_threshold=0.0)
    good, broken = detector.predict([images[0], tmp_path / "a.png"], results="device")
    assert good.error is None and len(good) == len(good.scores)
    assert broken.boxes is None and len(broken) == 0 and broken.path.endswith("a.png")
    assert broken.to_host().error == broken.error and broken.error in repr(broken)


def test_a_batch_that_fails_is_an_error_of_its_images(images):
    network = lively_network()
    backend = TorchBackend(network, card_of(network))
    detector = Detector(backend, size=(64, 96), device_postprocessing=True)
    backend.close()
    assert all("closed" in each.error for each in detector.predict(images))


def test_labels_that_the_card_does_not_name_are_an_error(images):
    network = lively_network()
    backend = TorchBackend(network, card_of(network))
    backend.card = backend.card.model_copy(update={"class_names": ("one",), "category_ids": (1,)})
    found = Detector(backend, size=(64, 96), score_threshold=0.0, device_postprocessing=True).predict(images)
    assert any("belongs to another network" in (each.error or "") for each in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mirror": True}, "views to merge"),
        ({"size": (64, 96), "scales": (0.5, 1)}, "views to merge"),
        ({"merge_exponent": 10}, "merge_exponent=10 averages boxes"),
        ({"protocol": "official", "mirror": False}, "official order"),
        ({"classes": ["a"]}, "classes= leaves out"),
    ],
    ids=str,
)
def test_what_only_the_host_does_is_refused_by_name(settings, words):
    network = lively_network()
    names = tuple("abc"[: len(card_of(network).class_names)])
    backend = TorchBackend(network, card_of(network).model_copy(update={"class_names": names}))
    with pytest.raises(BackendError, match=rf"device_postprocessing=True: .*{words}.*on the host only"):
        Detector(backend, device_postprocessing=True, **settings)
    with pytest.raises(BackendError, match=f'results="device": .*{words}'):
        Detector(backend, **settings).predict([], results="device")


def test_a_backend_that_leaves_it_to_the_host_says_so_with_the_cure():
    backend = FunctionBackend(bright_box)
    with pytest.raises(BackendError, match=r"fake leaves post-processing to the host.*cmake"):
        Detector(backend, device_postprocessing=True)
    with pytest.raises(BackendError, match="fake leaves post-processing"):
        Detector(backend).predict(picture(40, 50), results="device")
    with pytest.raises(ValueError, match="results='gpu'"):
        Detector(backend).predict(picture(40, 50), results="gpu")
    with pytest.raises(TypeError, match="device_postprocessing='yes'"):
        Detector(FunctionBackend(bright_box, make_card()), device_postprocessing="yes")
