"""ONNX Runtime with bound inputs: the real session and binding, with memory of the CPU where a GPU's would be."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, bright_box, make_card, picture, write_onnx
from fake_cuda import FakeCuda
from placing_rig import OnStream, emulated_kernels, plan_of
from saccade_onnx import write_saccade

from cornernet.engine.backends import onnxruntime as module
from cornernet.engine.backends import ort_binding
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ImageError, ModelError
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.packing import pack, packed_bytes
from cornernet.engine.reading.preprocess import place_on_canvas

CPU = ["CPUExecutionProvider"]


@pytest.fixture
def path(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card())


@pytest.fixture
def plain(path):
    return module.OnnxRuntimeBackend(path, providers=CPU)


def open_bound(path, cuda=None, launchers=None):
    """As on a GPU: without cuda-python, or with it and the library of plugins/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_device_of", lambda session: ("cpu", 0))
        patch.setattr(ort_binding, "_cuda", lambda device: None if cuda is None else Cuda(cuda))
        patch.setattr(ort_binding, "placing_launchers", lambda *_: OnStream(launchers, cuda, writes_to_device=False))
        return module.OnnxRuntimeBackend(path, providers=CPU)


@pytest.fixture
def bound(path):
    backend = open_bound(path)
    yield backend
    backend.close()


@pytest.fixture
def cuda():
    fake = FakeCuda()
    yield fake
    assert fake.alive() == {}


@pytest.fixture
def placing(path, cuda):
    backend = open_bound(path, cuda, emulated_kernels().launchers)
    yield backend
    backend.close()


def assert_same(got, wanted):
    for each, expected in zip(got, wanted):
        assert each.dtype == expected.dtype
        np.testing.assert_array_equal(each, expected)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_bound_runs_give_what_plain_runs_give_for_any_shapes_and_own_their_results(bound, plain):
    kept = []
    for seed, shape in enumerate([(1, 8, 8), (3, 16, 24), (1, 8, 8), *[(2, 8, 8 + n) for n in range(9)], (1, 8, 8)]):
        canvases = noise(*shape, seed=seed)
        kept.append((bound.run(canvases), plain.run(canvases)))
        kept.append((bound.run(canvases[:, ::-1]), plain.run(canvases[:, ::-1])))  # not contiguous
    for got, wanted in kept:
        assert_same(got, wanted)
    assert bound.in_flight == 2 and not bound.places_views
    assert bound.allocate(10).shape == (10,)


def test_bindings_keep_memory_for_few_shapes(bound):
    for width in range(20):
        bound.run(noise(1, 8, 8 + width))
    for binding in list(bound._device._idle.queue):
        assert len(binding._inputs) <= ort_binding.MOST_INPUTS


def test_many_threads_share_the_bindings(bound, plain):
    canvases = [noise(2, 16, 16 + seed % 3, seed=seed) for seed in range(12)]
    found = [None] * len(canvases)

    def work(start):
        for number in range(start, len(canvases), 4):
            found[number] = bound.run(canvases[number])

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, each in zip(found, canvases):
        assert_same(got, plain.run(each))


def test_a_closed_model_says_so_to_whoever_waits_and_a_failing_run_gives_its_binding_back(bound):
    for _ in range(5):
        with pytest.raises(BackendError, match="ONNX Runtime failed on canvases"):
            bound.run(np.zeros((1, 8, 8, 3), np.float32))
    runs = bound._device
    bound.close()
    bound.close()
    with pytest.raises(BackendError, match="was closed"):
        bound.run(noise(1, 8, 8))
    with pytest.raises(BackendError, match="was closed"):  # it was past the first question when the model closed
        runs.run(noise(1, 8, 8))


def test_a_graph_that_cannot_run_frees_its_bindings(path, monkeypatch, cuda):
    monkeypatch.setattr(ort_binding.Binding, "run", lambda *_: 1 / 0)
    with pytest.raises(ModelError, match="the graph cannot be run"):
        open_bound(path, cuda)


def test_canvases_lie_in_page_locked_memory_that_is_given_back(placing, plain, cuda):
    memory = placing.allocate(2 * 16 * 24 * 3)
    assert memory.ctypes.data in cuda.pinned
    canvases = memory.reshape(2, 16, 24, 3)
    canvases[...] = noise(2, 16, 24)
    assert_same(placing.run(canvases), plain.run(canvases))


@pytest.mark.parametrize("settings", [{"size": (128, 128), "mirror": True}, {"resize": "original"}], ids=str)
def test_a_detector_places_images_on_the_device(placing, plain, cuda, settings):
    boxes = [(10, 20, 60, 80), (5, 6, 30, 40), (0, 0, 90, 70), (40, 30, 100, 90)]
    images = [picture(100 + 10 * n, 120, box) for n, box in enumerate(boxes)]
    arrays = [cuda.device_array(image) for image in images]
    mixture = [arrays[0], images[1], arrays[2], images[3]]
    wanted = Detector(plain, soft_nms=None, **settings).predict(images)
    for detector in (
        Detector(placing, soft_nms=None, **settings),
        Detector(placing, soft_nms=None, device_preprocessing=True, **settings),
    ):
        for found in (detector.predict(mixture, batch_size=3), list(detector.stream(mixture, batch_size=2))):
            assert [each.error for each in found] == [None] * 4
            assert [each.boxes.tolist() for each in found] == [each.boxes.tolist() for each in wanted]
        detector.close()
    for array in arrays:
        cuda.cudaFree(array.base)


@pytest.mark.parametrize("protocol", ["default", "official"])
def test_a_saccades_views_and_crops_are_cut_on_the_device(tmp_path, cuda, protocol):
    path = write_saccade(tmp_path / "saccade.onnx")
    settings = {"protocol": protocol, "soft_nms": None, "score_threshold": 0.0}
    images = [picture(200 + 10 * n, 320, (30 + n, 40, 80, 90)) for n in range(4)]
    arrays = [cuda.device_array(image) for image in images]
    wanted = Detector(module.OnnxRuntimeBackend(path, providers=CPU), **settings).predict(images)
    assert min(map(len, wanted)) > 2, "boxes of crops too"
    placing = open_bound(path, cuda, emulated_kernels().launchers)
    assert placing.takes_float and placing.places_views
    detector = Detector(placing, **settings)
    for found in (detector.predict(arrays, batch_size=3), list(detector.stream([*arrays[:2], *images[2:]]))):
        for each, expected in zip(found, wanted, strict=True):
            assert each.error is None and len(each) == len(expected)
            np.testing.assert_allclose(each.boxes, expected.boxes, atol=1e-2)
            np.testing.assert_allclose(each.scores, expected.scores, atol=1e-5)
    detector.close()
    placing.close()
    for array in arrays:
        cuda.cudaFree(array.base)


@pytest.mark.parametrize("counts", [(1, 3, 9), (9, 1, 3)], ids=["on the device", "on the host"])
def test_images_of_a_batch_that_failed_are_not_on_their_way_through_memory_that_the_next_one_frees(
    placing, plain, counts
):
    plan, one = plan_of(placing.card), place_fit((40, 50), (128, 128), DEFAULT)
    for count in counts:
        images = [noise(40, 50, seed=seed) for seed in range(count)]
        views = [(image, one) for image in images]
        size = packed_bytes(views, plan)
        packed = pack(views, placing.allocate(size) if count == 9 else np.empty(size, np.uint8), plan)
        canvases = np.stack([place_on_canvas(image, one, placing.card, DEFAULT) for image in images])
        assert_same(placing.run_views(packed), plain.run(canvases))
        with pytest.raises(BackendError, match=r"canvases of uint8 cannot hold levels of float32.*Give those"):
            placing.run_views(replace(packed, dtype=np.dtype(np.float32)))


def test_an_image_of_another_device_is_refused(placing, cuda):
    array = cuda.device_array(picture(40, 50))
    cuda.owner = 1
    (found,) = Detector(placing).predict([array])
    assert "memory of device 1; expected device 0" in found.error
    cuda.cudaFree(array.base)
    with pytest.raises(ImageError):
        from cornernet.engine.backends.device_arrays import describe_image, facts_of

        placing.check_image(describe_image(array, facts_of(array)))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_file_of_a_fixed_number_of_canvases_places_parts_that_are_filled_up(tmp_path, cuda, count):
    fixed = BRIGHT_BOX_GRAPH.replace("uint8[N,H,W,3]", "uint8[2,H,W,3]")
    path = write_onnx(tmp_path / "fixed.onnx", make_card(), fixed)
    backend = open_bound(path, cuda, emulated_kernels().launchers)
    images = [picture(40, 50, (5 + n, 6, 30, 20)) for n in range(count)]
    found = Detector(backend, device_preprocessing=True, size=(128, 128), soft_nms=None).predict(images)
    for each, image in zip(found, images):
        assert each.error is None
        np.testing.assert_allclose(each.boxes[0], bright_box(image)[0][:4], atol=1)
    backend.close()


def test_the_device_of_a_session_is_that_of_its_gpu_provider():
    class Session:
        def __init__(self, **options):
            self.options = options

        def get_provider_options(self):
            return self.options

    assert module._device_of(Session(CUDAExecutionProvider={"device_id": "1"}, CPUExecutionProvider={})) == ("cuda", 1)
    assert module._device_of(Session(TensorrtExecutionProvider={})) == ("cuda", 0)
    assert module._device_of(Session(CPUExecutionProvider={})) is None


def test_without_cuda_python_a_gpu_runs_without_page_locked_memory(monkeypatch):
    def missing(device):
        raise BackendError("cuda-python is not installed")

    monkeypatch.setattr(ort_binding, "Cuda", missing)
    assert ort_binding._cuda(0) is None
