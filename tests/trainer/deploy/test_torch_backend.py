"""Live weights behind the engine's interface."""

import functools

import numpy as np
import pytest
from lively_network import card_of, lively_network

from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ModelError
from cornernet.export.parity import drawn_images
from cornernet.trainer.deploy.open_model import open_detector
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.checkpoint import save_checkpoint


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


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_canvases_of_another_type_are_refused_and_not_cut_off_to_whole_levels(backend, dtype):
    with pytest.raises(BackendError, match=f"canvases have type {np.dtype(dtype)}; expected uint8, or float32"):
        backend.run(drawn_images(0, 1, 64, 64).astype(dtype))


def test_a_closed_backend_says_so(backend):
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(drawn_images(0, 1, 64, 64))


def test_a_device_that_is_not_there_is_a_backend_error():
    network = lively_network()
    with pytest.raises(BackendError, match="xla"):
        TorchBackend(network, card_of(network), device="xla")


def test_a_device_that_torch_has_no_name_for_is_a_backend_error():
    network = lively_network()
    with pytest.raises(BackendError, match="toaster"):
        TorchBackend(network, card_of(network), device="toaster")
    with pytest.raises(BackendError, match="expected one of fp32, fp16, bf16"):
        TorchBackend(network, card_of(network), precision="fp8")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_in_sixteen_bits_it_finds_the_same_within_their_rounding(backend, precision):
    network = lively_network()
    half = TorchBackend(network, card_of(network), precision=precision, channels_last=True)
    images = drawn_images(0, 2, 64, 96)
    assert precision in half.name
    got, wanted = half.run(images), backend.run(images)
    assert abs(got.scores[:, 0] - wanted.scores[:, 0]).max() < 0.1


def test_memory_it_lends_is_memory_it_runs_from(backend):
    canvases = drawn_images(0, 1, 64, 64)
    lent = backend.allocate(canvases.nbytes).reshape(canvases.shape)
    lent[...] = canvases
    assert lent.dtype == np.uint8 and backend.in_flight == 1
    np.testing.assert_array_equal(backend.run(lent).boxes, backend.run(canvases).boxes)


def compiles_with(monkeypatch, backend) -> None:
    """torch.compile with another compiler behind it: what it captures is the same, without minutes of g++."""
    import torch

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


@pytest.mark.slow
def test_a_compiled_network_finds_the_same_and_is_an_option_of_the_detector(weights, monkeypatch):
    compiles_with(monkeypatch, "eager")
    images = list(drawn_images(0, 2, 64, 96))
    settings = {"device": "cpu", "resize": "fit", "size": (64, 96)}
    with Detector(weights, compiled=True, **settings) as detector, Detector(weights, **settings) as plain:
        assert detector.backend.name == "PyTorch compiled"
        for found, wanted in zip(detector.predict(images), plain.predict(images)):
            assert found.error is None
            np.testing.assert_array_equal(found.boxes, wanted.boxes)


@pytest.mark.slow
def test_a_compiler_that_fails_is_a_backend_error_that_says_what_it_needs(weights, monkeypatch):
    def no_compiler(graph, inputs):
        raise OSError("g++: not found")

    compiles_with(monkeypatch, no_compiler)
    with Detector(weights, device="cpu", compiled=True, size=(64, 64)) as detector:
        (found,) = detector.predict(drawn_images(0, 1, 64, 64)[0])
    assert "g++: not found" in found.error and "compiled=True needs a C++ compiler" in found.error


def test_plugins_are_for_engines_only(weights):
    with pytest.raises(ModelError, match="it has no plugins"), open_detector(weights, plugins="engine"):
        pass


@pytest.fixture
def weights(tmp_path):
    network = lively_network()
    save_checkpoint(tmp_path / "model.safetensors", network, card_of(network))
    return tmp_path / "model.safetensors"


def test_a_detector_opens_weights_by_their_suffix(weights):
    images = list(drawn_images(0, 2, 64, 96))
    with Detector(weights, device="cpu", resize="fit", size=(64, 96)) as detector:
        found = detector.predict(images)
    assert all(result.error is None for result in found) and any(len(result.boxes) for result in found)
    with open_detector(weights, device="cpu", resize="fit", size=(64, 96)) as detector:
        again = detector.predict(images)
    np.testing.assert_array_equal(found[0].boxes, again[0].boxes)


@pytest.mark.parametrize(
    ("device", "words"), [("cuda", "PyTorch cannot use device cuda"), ("gpu", "PyTorch cannot use device gpu")]
)
def test_weights_on_a_device_that_is_not_there_are_a_backend_error(weights, device, words):
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(BackendError, match=words):
        Detector(weights, device=device)


def test_on_a_gpu_lanes_begin_once_the_weights_are_there_and_stay_on_the_device_that_was_current(monkeypatch):
    """With a stand-in for the GPU: "cuda" means the current device of this thread, and a lane's stream would read
    weights that are still being moved on the default stream."""
    import torch

    from cornernet.trainer.deploy import torch_backend

    done = []

    class Deployed:
        def __init__(self, *_, **__): ...
        def to(self, *device, **order):
            done.append(device or order)
            return self

    monkeypatch.setattr(torch_backend, "DeployedNetwork", Deployed)
    monkeypatch.setattr(torch_backend, "register_cuda_kernels", lambda: False)
    monkeypatch.setattr(torch_backend, "CudaLane", lambda network, device, **_: done.append(("lane", device)))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(("waited", device)))
    network, second = lively_network(), torch.device("cuda", 1)
    backend = TorchBackend(network, card_of(network), device="cuda", precision="fp16")
    assert backend.device == second and backend.in_flight == 2
    assert backend.takes_float and not backend.computes_on_cpu
    assert done == [(second,), {"memory_format": torch.channels_last}, ("waited", second), *[("lane", second)] * 2]
