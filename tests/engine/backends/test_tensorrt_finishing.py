"""Boxes made final behind an engine, on a fake driver and a fake TensorRT; the soft-NMS kernel is real, on the CPU."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from fake_tensorrt import ROWS
from placing_rig import OnStream, emulated_kernels, plan_of
from tensorrt_rig import Rig, images
from toy_onnx import toy_card

from cornernet.engine.backends import RawDetections, cuda_placing
from cornernet.engine.backends import tensorrt as module
from cornernet.engine.backends.finishing import Finishing, NmsRules
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.packing import pack, packed_bytes
from cornernet.engine.results.device_rules import placement_row
from cornernet.engine.results.postprocess import Suppression, to_results

CANVAS = (32, 48)
CLASSES = tuple(f"class {number}" for number in range(ROWS))
RULES = NmsRules(3, "gaussian", 0.5, 0.5, Suppression().lowest_score, 0, True)


@pytest.fixture
def rig(tmp_path, monkeypatch):
    kernels = emulated_kernels()
    card = toy_card().model_copy(update={"class_names": CLASSES, "category_ids": tuple(range(ROWS))})
    with Rig(tmp_path, card=card) as opened:
        pass  # its fakes serve a second backend, which finishes
    monkeypatch.setattr(module, "placing_launchers", lambda cuda, library: OnStream(kernels.launchers, cuda.runtime))
    with opened:
        yield opened
    if opened.cuda.alive():
        gc.collect()  # an exception that was caught may still hold the arrays of its batch
    assert opened.cuda.alive() == {}


def canvases_of(count: int, seed: int = 0) -> np.ndarray:
    """Of these the fake's boxes lie on the canvas, and its labels are the card's."""
    made = images(count, seed=seed) // 8
    made[:, 0, 0, :2], made[:, -1, -1, 2] = 0, 40
    return made


PLACEMENTS = [place_fit((20 + seed, 50 - seed), CANVAS, DEFAULT) for seed in range(9)]
TABLE = np.array([placement_row(each, DEFAULT) for each in PLACEMENTS], np.float32)


def assert_final(found, raw: RawDetections) -> None:
    raw = raw._replace(counts=np.minimum(raw.counts, ROWS))
    suppression = Suppression(max_per_image=RULES.limit)
    for image, final in enumerate(found):
        wanted = to_results([(raw, image, PLACEMENTS[image])], suppression, DEFAULT)
        assert len(wanted.scores) > 0
        boxes, scores, labels = (each if isinstance(each, np.ndarray) else each.get() for each in final)
        np.testing.assert_array_equal(labels, wanted.labels)
        np.testing.assert_allclose(scores, wanted.scores, rtol=1e-5)
        np.testing.assert_allclose(boxes, wanted.boxes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_batches_split_and_filled_up_come_back_final_and_each_keeps_its_own(rig, count, stays):
    given = [canvases_of(count, seed) for seed in range(4)]  # plainly, then recorded, then as a graph
    found = [rig.backend.run_final(each, TABLE[:count], Finishing(RULES, stays)) for each in given]
    assert rig.cuda.calls["cudaGraphLaunch"] > 0
    for each, canvases in zip(found, given):
        assert len(each) == count
        assert_final(each, rig.backend.run(canvases))


def test_images_that_the_device_places_come_back_final_too(rig):
    views = [(np.random.default_rng(seed).integers(0, 256, (*PLACEMENTS[seed].image, 3), np.uint8), PLACEMENTS[seed])
             for seed in range(3)]  # fmt: skip
    memory = np.empty(packed_bytes(views, plan_of(rig.backend.card)), np.uint8)
    packed = pack(views, memory, plan_of(rig.backend.card))
    found = rig.backend.run_final(packed, TABLE[:3], Finishing(RULES._replace(drop_empty=False)))
    raw = rig.backend.run_views(packed)
    assert [each.scores[0] for each in found] == raw.scores[:, 0].tolist()


def test_results_that_stay_are_held_by_their_arrays_and_their_memory_is_used_again(rig):
    rig.backend.run_final(canvases_of(2), TABLE[:2], Finishing(RULES))
    made = rig.cuda.calls["cudaMalloc"]
    held = rig.backend.run_final(canvases_of(2, 1), TABLE[:2], Finishing(RULES, stays=True))
    assert rig.cuda.calls["cudaMalloc"] == made, "the block of a batch that nobody holds"
    facts = held[1].boxes.__cuda_array_interface__
    assert (facts["shape"], facts["typestr"], facts["version"], facts["stream"]) == ((3, 4), "<f4", 3, None)
    last = held[1].labels
    kept = last.get()
    del held
    rig.backend.run_final(canvases_of(2, 2), TABLE[:2], Finishing(RULES, stays=True))
    assert rig.cuda.calls["cudaMalloc"] == made + 1
    np.testing.assert_array_equal(last.get(), kept)
    rig.backend.close()
    np.testing.assert_array_equal(last.get(), kept)  # beyond the end of the backend
    assert rig.cuda.alive() == {"device_memory": 1}


def test_memory_used_again_waits_for_what_the_default_stream_still_reads(rig):
    first = rig.backend.run_final(canvases_of(1), TABLE[:1], Finishing(RULES, stays=True))
    facts, wanted = first[0].scores.__cuda_array_interface__, first[0].scores.get()
    read: list[bytes] = []
    rig.cuda.enqueue(1, lambda: read.append(bytes(rig.cuda.bytes_at(facts["data"][0], wanted.nbytes))))
    del first
    rig.backend.run_final(canvases_of(1, 5), TABLE[:1], Finishing(RULES, stays=True))
    assert read == [wanted.tobytes()]


def test_an_array_without_rows_has_no_address(rig):
    rules = RULES._replace(min_score=1e9)
    (found,) = rig.backend.run_final(canvases_of(1), TABLE[:1], Finishing(rules, stays=True))
    assert found.boxes.__cuda_array_interface__["data"] == (0, False)
    assert found.boxes.get().shape == (0, 4) and len(found.scores) == 0


@pytest.mark.parametrize("function", ["cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync"])
def test_a_batch_that_fails_leaves_the_next_one_its_results(rig, function):
    code = "cudaErrorInvalidValue" if function == "cudaMemcpyAsync" else "cudaErrorMemoryAllocation"
    rig.cuda.fail(function, code)
    with pytest.raises(BackendError, match=f"{function} failed"):
        rig.backend.run_final(canvases_of(2), TABLE[:2], Finishing(RULES))
    assert_final(rig.backend.run_final(canvases_of(2), TABLE[:2], Finishing(RULES)), rig.backend.run(canvases_of(2)))


def test_rules_beyond_the_kernel_are_a_backend_error(rig):
    with pytest.raises(BackendError, match="could not be made final"):
        rig.backend.run_final(canvases_of(1), TABLE[:1], Finishing(RULES._replace(sigma=0.0)))


def test_a_detector_finds_the_same_with_soft_nms_on_the_device(rig):
    values = list(canvases_of(7))
    settings = {"size": CANVAS, "score_threshold": 0.0, "max_per_image": 4, "threads": 2}
    with Detector(rig.backend, device_postprocessing=True, device_preprocessing=True, **settings) as detector:
        found = detector.predict(values, batch_size=3)
        kept = list(detector.stream(values, batch_size=3, results="device"))
    assert [each.error for each in found] == [None] * 7 and all(map(len, found))
    for final, one in zip(found, kept):
        np.testing.assert_array_equal(one.to_host().boxes, final.boxes)
        assert one.image_size == final.image_size
    assert len({each.scores[0] for each in found}) == 7


def test_without_the_library_the_host_does_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_placing, "library_path", lambda: None)
    with Rig(tmp_path) as rig:
        assert not rig.backend.finishes
        with pytest.raises(BackendError, match=r"leaves post-processing to the host.*cmake"):
            Detector(rig.backend, device_postprocessing=True)


def test_an_engine_that_writes_other_types_than_the_kernel_reads_leaves_it_to_the_host(tmp_path, monkeypatch):
    kernels = emulated_kernels()
    monkeypatch.setattr(module, "placing_launchers", lambda cuda, library: OnStream(kernels.launchers, cuda.runtime))
    with Rig(tmp_path, types={"scores": "float16"}) as rig:
        assert rig.backend.places_views and not rig.backend.finishes
