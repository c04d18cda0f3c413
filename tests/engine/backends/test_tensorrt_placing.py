"""Images placed on the device in front of an engine, on a fake driver and a fake TensorRT; the kernel is real."""

from __future__ import annotations

import numpy as np
import pytest
from emulation import built_emulation
from fake_backends import make_card
from fake_driver import OTHER
from fake_tensorrt import expected
from placing_rig import OnStream, emulated_kernels, plan_of
from planted_saccade import saccade_card
from tensorrt_rig import Rig, assert_results, images

from cornernet.engine.backends import cuda_placing
from cornernet.engine.backends import tensorrt as module
from cornernet.engine.backends.device_arrays import describe_image, facts_of
from cornernet.engine.backends.placing import open_launchers
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, ImageError
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT, OFFICIAL
from cornernet.engine.reading.packing import pack, packed_bytes
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.saccade.cuts import cut
from cornernet.engine.saccade.two_looks import TwoLooks
from cornernet.plugins import launchers as launchers_module

CARD = make_card()
CANVAS = (32, 48)


@pytest.fixture
def rig(tmp_path, monkeypatch):
    kernels = emulated_kernels()
    with Rig(tmp_path) as opened:
        pass  # its fakes serve a second backend, which places
    monkeypatch.setattr(module, "placing_launchers", lambda cuda, library: OnStream(kernels.launchers, cuda.runtime))
    with opened:
        yield opened
    assert opened.cuda.alive() == {}


def packed_of(sources, canvas=CANVAS):
    """-> Packed, and the canvases that it stands for."""
    views, wanted = [], []
    for array, values in sources:
        placement = place_fit(values.shape[:2], canvas, DEFAULT)
        views.append((array, placement))
        wanted.append(place_on_canvas(values, placement, CARD, DEFAULT))
    memory = np.empty(packed_bytes(views, plan_of(CARD)), np.uint8)
    return pack(views, memory, plan_of(CARD)), np.stack(wanted)


def on_device(rig, values, **about):
    array = rig.cuda.device_array(values, **about)
    return describe_image(array, facts_of(array)), array


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_images_of_host_and_device_are_placed_and_run_and_a_shape_that_comes_again_is_a_graph(rig, count):
    values = [noise(20 + seed, 50 - seed, seed) for seed in range(count)]
    arrays = [on_device(rig, image) if number % 2 else (image, None) for number, image in enumerate(values)]
    packed, wanted = packed_of([(image, each) for (image, _), each in zip(arrays, values)])
    for _ in range(3):
        assert_results(rig.backend.run_views(packed), wanted)
    launched = rig.cuda.calls["cudaGraphLaunch"]
    assert_results(rig.backend.run_views(packed), wanted)
    assert rig.cuda.calls["cudaGraphLaunch"] == launched + -(-count // 4)
    assert_results(rig.backend.run(images(2)), images(2))  # and canvases of the host come in between
    for _, array in arrays:
        if array is not None:
            rig.cuda.cudaFree(array.base)


def test_memory_for_images_grows_with_the_batch_and_lent_memory_is_uploaded_as_it_is(rig):
    for size in (10, 60, 30):
        packed, wanted = packed_of([(noise(size, size), noise(size, size))] * 2)
        assert_results(rig.backend.run_views(packed), wanted)
    lent = rig.backend.allocate(10_000)
    pinned = rig.cuda.calls["cudaHostAlloc"]
    values = noise(50, 60)
    placement = place_fit(values.shape[:2], CANVAS, DEFAULT)
    packed = pack([(values, placement)], lent, plan_of(CARD))
    assert_results(rig.backend.run_views(packed), place_on_canvas(values, placement, CARD, DEFAULT)[None])
    assert rig.cuda.calls["cudaHostAlloc"] == pinned


def test_work_of_every_producer_is_waited_for(rig):
    before, after = noise(30, 40, 1), noise(30, 40, 2)
    sources = []
    for stream in (77, 78):
        rig.cuda.streams.setdefault(stream, [])
        image, array = on_device(rig, before, stream=stream)
        rig.cuda.enqueue(
            stream,
            lambda base=array.base: rig.cuda.bytes_at(base, after.nbytes).__setitem__(slice(None), after.tobytes()),
        )
        sources.append((image, after))
    packed, wanted = packed_of(sources)
    assert packed.producers == {77, 78}
    assert_results(rig.backend.run_views(packed), wanted)
    for image, _ in sources:
        rig.cuda.cudaFree(image.address)
    del rig.cuda.streams[77], rig.cuda.streams[78]


def test_an_image_that_the_engine_cannot_read_is_refused(rig):
    image, array = on_device(rig, noise(30, 40))
    rig.backend.check_image(image)
    rig.cuda.owner = 1
    with pytest.raises(ImageError, match="memory of device 1; expected device 0"):
        rig.backend.check_image(image)
    rig.cuda.owner = 0
    rig.cuda.memory_context[array.base] = OTHER
    with pytest.raises(ImageError, match="autoprimaryctx"):
        rig.backend.check_image(image)
    rig.cuda.cudaFree(array.base)
    with pytest.raises(ImageError, match="memory that was freed"):
        rig.backend.check_image(image)


def test_without_memory_for_the_images_the_batch_fails_and_the_next_one_runs(rig):
    packed, wanted = packed_of([(noise(60, 60), noise(60, 60))])
    rig.cuda.fail("cudaMalloc", "cudaErrorMemoryAllocation")
    with pytest.raises(BackendError, match="cudaMalloc failed"):
        rig.backend.run_views(packed)
    assert_results(rig.backend.run_views(packed), wanted)


def test_an_engine_places_images_only_where_the_library_is_there_and_can_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cuda_placing, "library_path", lambda: None)
    with Rig(tmp_path) as rig:
        assert not rig.backend.places_views
    library = tmp_path / "libcornernet_plugins.so"
    library.write_bytes(b"no library")
    monkeypatch.setattr(cuda_placing, "library_path", lambda: library)
    with Rig(tmp_path) as rig:
        assert not rig.backend.places_views
    assert "places no images" in caplog.text
    monkeypatch.setattr(cuda_placing, "driver_problem", lambda library, version: "an old driver")
    with Rig(tmp_path) as rig:
        assert not rig.backend.places_views
    assert "images are placed on the host: an old driver" in caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_engine_of_float_canvases_gets_a_saccades_windows_in_floats_rounded_or_not(tmp_path, monkeypatch, dtype):
    kernels, card = emulated_kernels(), saccade_card(max_size=256)
    monkeypatch.setattr(module, "placing_launchers", lambda cuda, library: OnStream(kernels.launchers, cuda.runtime))
    plan = TwoLooks(card, OFFICIAL if dtype == np.float32 else DEFAULT, 30)
    with Rig(tmp_path, card=card, outputs=card.detection_outputs, float_canvases=True, float_input=True) as rig:
        assert rig.backend.places_views
        for count in (1, 3, 4, 9, 4, 4):
            values = [noise(40 + seed, 90 - seed, seed) for seed in range(count)]
            cuts = [cut(image.shape[:2], (20, 30), 0.7, 32, 4, plan.protocol.saccade) for image in values]
            wanted = np.empty((count, 32, 32, 3), dtype)
            for canvas, image, one in zip(wanted, values, cuts):
                plan.place(image, one, canvas)
            arrays = [on_device(rig, image) if number % 2 else (image, None) for number, image in enumerate(values)]
            memory = np.empty(sum(image.nbytes for image in values), np.uint8)
            views = [(image, one) for (image, _), one in zip(arrays, cuts)]
            raw = rig.backend.run_views(pack(views, memory, plan, dtype=np.dtype(dtype)))
            for got, expected_values in zip(raw, expected(wanted)):
                np.testing.assert_allclose(got, expected_values, rtol=1e-5)
            for _, array in arrays:
                if array is not None:
                    rig.cuda.cudaFree(array.base)
    assert rig.cuda.alive() == {}


def test_levels_between_whole_ones_are_not_written_into_canvases_that_cannot_hold_them(rig):
    plan = TwoLooks(saccade_card(), OFFICIAL, 30)
    values = noise(40, 50)
    one = cut((40, 50), (20, 30), 0.7, 32, 4, OFFICIAL.saccade)
    packed = pack([(values, one)], np.empty(values.nbytes, np.uint8), plan, dtype=np.dtype(np.float32))
    with pytest.raises(BackendError, match="canvases of uint8 cannot hold levels of float32"):
        rig.backend.run_views(packed)


def test_a_library_from_before_there_was_a_kernel_places_nothing_and_is_told_to_be_built_again(monkeypatch, caplog):
    signatures = launchers_module._SIGNATURES
    monkeypatch.setattr(launchers_module, "_SIGNATURES", signatures | {"cornernet_of_tomorrow": (None, [])})
    assert open_launchers(built_emulation()) is None
    assert "places no images" in caplog.text and "cornernet_of_tomorrow. Build it again." in caplog.text


class OneBox:
    """The fake's numbers, which tell any canvas from any other, as one box of the first class."""

    def __init__(self, backend) -> None:
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def run(self, canvases):
        return self._legal(self._backend.run(canvases))

    def run_views(self, packed):
        return self._legal(self._backend.run_views(packed))

    def _legal(self, raw):
        boxes = np.zeros_like(raw.boxes) + np.float32((0, 0, 64, 64))
        return raw._replace(boxes=boxes, counts=np.ones_like(raw.counts), labels=np.zeros_like(raw.labels))


@pytest.mark.parametrize("settings", [{"size": CANVAS}, {"resize": "original", "mirror": True}], ids=str)
def test_a_detector_finds_the_same_from_host_and_device(rig, settings):
    values = [noise(30, 20 + 7 * number % 25, number) for number in range(11)]
    arrays = [rig.cuda.device_array(image) for image in values]
    settings = {"score_threshold": 0.0, "soft_nms": None, "threads": 2, **settings}
    with Detector(OneBox(rig.backend), **settings) as detector:
        wanted = detector.predict(values, batch_size=3)
        assert len({each.scores[0] for each in wanted}) == len(values)
        for found in (detector.predict(arrays, batch_size=3), list(detector.stream(arrays, batch_size=3))):
            assert [each.error for each in found] == [None] * len(values)
            for got, expected in zip(found, wanted):
                np.testing.assert_array_equal(got.scores, expected.scores)
                np.testing.assert_array_equal(got.boxes, expected.boxes)
    with Detector(OneBox(rig.backend), device_preprocessing=True, **settings) as detector:
        placed = detector.predict(values, batch_size=3)
    assert [each.scores.tolist() for each in placed] == [each.scores.tolist() for each in wanted]
    for array in arrays:
        rig.cuda.cudaFree(array.base)
