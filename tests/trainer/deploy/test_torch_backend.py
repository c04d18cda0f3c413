"""Live weights behind the engine's interface."""

import numpy as np
import pytest
from lively_network import card_of, lively_network

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.torch_backend import TorchBackend


@pytest.fixture
def backend():
    network = lively_network()
    return TorchBackend(network, card_of(network))


def test_it_gives_the_five_outputs_of_the_contract(backend):
    found = backend.run(drawn_images(0, 2, 64, 96))
    assert [(array.shape, array.dtype) for array in found] == [
        ((2, 60, 4), np.float32),
        ((2, 60), np.float32),
        ((2, 60, 2), np.float32),
        ((2, 60), np.int32),
        ((2,), np.int32),
    ]
    assert found.counts.sum() > 0


def test_a_detector_runs_on_it(backend):
    images = list(drawn_images(0, 3, 64, 96))
    with Detector(backend, resize="fit", size=(64, 96)) as detector:
        results = detector.predict(images, batch_size=2)
    assert len(results) == 3 and all(result.error is None for result in results)
    assert any(len(result.boxes) for result in results)


def test_later_training_does_not_change_it():
    network = lively_network()
    backend = TorchBackend(network, card_of(network))
    images = drawn_images(0, 1, 64, 64)
    before = backend.run(images)
    for parameter in network.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(backend.run(images).boxes, before.boxes)


def test_an_illegal_canvas_is_a_backend_error_that_names_it(backend):
    with pytest.raises(BackendError, match="60, 64"):
        backend.run(drawn_images(0, 1, 60, 64))


def test_a_closed_backend_says_so(backend):
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(drawn_images(0, 1, 64, 64))


def test_a_device_that_is_not_there_is_a_backend_error():
    network = lively_network()
    with pytest.raises(BackendError, match="xla"):
        TorchBackend(network, card_of(network), device="xla")
