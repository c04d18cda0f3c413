"""A lane of the torch backend on a stand-in for CUDA: every batch its own results, before and after recording."""

from __future__ import annotations

import contextlib
import types

import numpy as np
import pytest
import torch
from fake_backends import make_card
from placing_rig import emulated_kernels, plan_of
from planted_saccade import saccade_card
from raw_rows import CARD, PLACEMENTS, found

from cornernet.engine.backends import RawDetections
from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.backends.finishing import Finishing, NmsRules
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT, OFFICIAL
from cornernet.engine.reading.packing import pack
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.results.device_rules import placement_row
from cornernet.engine.results.postprocess import Suppression, to_results
from cornernet.engine.saccade.cuts import cut
from cornernet.engine.saccade.two_looks import TwoLooks
from cornernet.trainer.deploy import cuda_lane
from cornernet.trainer.deploy.cuda_lane import CudaLane


class Graph:
    """Replays what was done while it was recorded; the network writes into the tensors it gave then."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        Graph.rerun()


def sums_and_largest(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return images.float().sum(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3)).int()


@pytest.fixture
def lane_of(monkeypatch):
    """Function -> a lane that runs it, on the CPU, with everything of torch.cuda that a lane uses replaced."""

    class Stream:
        cuda_stream = 0

        def __init__(self, device: object) -> None: ...
        def synchronize(self) -> None: ...

    @contextlib.contextmanager
    def graph(made, *, pool, stream, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local") and isinstance(stream, Stream)
        yield

    nothing = lambda *_: contextlib.nullcontext()  # noqa: E731
    for name, stand_in in dict(
        Stream=Stream, stream=nothing, device=nothing, CUDAGraph=Graph, graph=graph, graph_pool_handle=lambda: "pool"
    ).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(cuda_lane, "page_locked", lambda shape, dtype: torch.empty(shape, dtype=dtype))

    def made(function) -> CudaLane:
        def network(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs = function(images)

            def rerun() -> None:
                for output, value in zip(outputs, function(images), strict=True):
                    output.copy_(value)

            Graph.rerun = staticmethod(rerun)  # type: ignore[attr-defined]
            return outputs

        return CudaLane(network, torch.device("cpu"), graphs=True, launchers=emulated_kernels().launchers)

    return made


@pytest.fixture
def lane(lane_of) -> CudaLane:
    return lane_of(sums_and_largest)


def test_a_lane_gives_each_batch_its_own_results_before_and_after_recording(lane):
    kept = []
    for seed in range(5):
        canvases = np.random.default_rng(seed).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
        sums, largest = lane.run(canvases)
        kept.append((sums, canvases))
        np.testing.assert_array_equal(largest, canvases.max(axis=(1, 2, 3)))
    for sums, canvases in kept:
        np.testing.assert_array_equal(sums, canvases.astype(np.float32).sum(axis=(1, 2, 3)))
    (recording,) = lane._graphs._kept.values()
    assert recording.graph.replays == 4  # recorded when it came again, replayed from then on
    lane.free()


def test_a_lane_places_images_itself_before_and_after_recording(lane, monkeypatch):
    waited: list[int] = []
    current = types.SimpleNamespace(wait_stream=lambda stream: waited.append(stream))
    for name in ("current_stream", "default_stream"):
        monkeypatch.setattr(
            torch.cuda, name, lambda device, name=name: current if name == "current_stream" else "default"
        )
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: handle)
    card = make_card(fill=(9, 8, 7))
    for seed in range(4):
        images = np.random.default_rng(seed).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
        producer = (None, 1, 77, None)[seed]
        address, _ = images[1].__array_interface__["data"]
        sources = [images[0], DeviceImage(address, (30, 40, 3), (120, 3, 1), producer, images)]
        placement = place_fit((30, 40), (16, 24), DEFAULT).mirror()
        packed = pack([(each, placement) for each in sources], np.empty(5000, np.uint8), plan_of(card))
        wanted = np.stack([place_on_canvas(image, placement, card, DEFAULT) for image in images])
        sums, largest = lane.run(packed)
        np.testing.assert_array_equal(sums, wanted.astype(np.float32).sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(largest, wanted.max(axis=(1, 2, 3)))
    assert waited == ["default", 77]
    (recording,) = lane._graphs._kept.values()
    assert recording.graph.replays == 3


def test_a_lane_keeps_levels_that_are_not_whole_beside_whole_ones_of_the_same_shape(lane):
    """From the host and placed here, before and after recording, each type with a recording of its own."""
    plan, kept = TwoLooks(saccade_card(), OFFICIAL, 30), []
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    one = cut((60, 80), (20, 30), 0.7, 32, 4, OFFICIAL.saccade)
    for dtype in (np.uint8, np.float32) * 4:
        canvases = np.empty((1, 32, 32, 3), dtype)
        plan.place(image, one, canvases[0])
        packed = pack([(image, one)], np.empty(image.nbytes, np.uint8), plan, dtype=np.dtype(dtype))
        kept.append((lane.run(canvases)[0], lane.run(packed)[0], canvases))
    for from_host, placed, canvases in kept:
        np.testing.assert_allclose(from_host, canvases.sum(dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(placed, from_host, rtol=1e-6)
    assert len({float(from_host[0]) for from_host, _, _ in kept}) == 2
    assert [recording.graph.replays for recording in lane._graphs._kept.values()] == [7, 7]


def test_page_locked_memory_on_the_way_to_the_device_grows_with_the_largest_batch_and_is_kept(lane, monkeypatch):
    made: list[int] = []
    plain = cuda_lane.page_locked
    monkeypatch.setattr(
        cuda_lane,
        "page_locked",
        lambda shape, dtype: (made.append(shape[0]) if dtype == torch.uint8 else None) or plain(shape, dtype),
    )
    for shape, dtype in (((1, 4, 6, 3), np.uint8), ((1, 4, 6, 3), np.float32), ((3, 4, 6, 3), np.uint8)) * 2:
        lane.run(np.ones(shape, dtype))
    assert made == [72, 288]


def rows_of(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rows that depend on the canvases: whose seed is their first pixel."""
    raws = [found(1, 30, levels=0, classes=3, seed=int(image[0, 0, 0])) for image in images]
    return tuple(torch.from_numpy(np.concatenate(values)) for values in zip(*raws))


@pytest.mark.parametrize("stays", [False, True])
def test_a_lane_gives_each_batch_its_own_final_boxes_before_and_after_recording(lane_of, monkeypatch, stays):
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: "default")
    lane = lane_of(rows_of)
    monkeypatch.setattr(lane._stream, "wait_stream", waited.append, raising=False)
    suppression, kept = Suppression(max_per_image=9), []
    rules = NmsRules(9, "gaussian", 0.5, 0.5, suppression.lowest_score, 0, True)
    placements = np.array([placement_row(each, DEFAULT) for each in PLACEMENTS[:2]], np.float32)
    for seed in range(4):
        canvases = np.full((2, 4, 6, 3), seed, np.uint8)
        kept.append((lane.run(canvases, (placements, Finishing(rules, stays))), canvases))
    for (boxes, scores, labels, counts), canvases in kept:  # none was overwritten by a later batch
        raw = RawDetections(*(each.numpy() for each in rows_of(torch.from_numpy(canvases))))
        for image in range(2):
            wanted = to_results([(raw, image, PLACEMENTS[image])], suppression, DEFAULT)
            count = counts[image]
            assert count == len(wanted.scores) > 0 and labels[image, :count].tolist() == wanted.labels.tolist()
            np.testing.assert_allclose(scores[image, :count], wanted.scores, rtol=1e-5)
            np.testing.assert_allclose(boxes[image, :count], wanted.boxes, rtol=1e-5, atol=1e-5)
        assert isinstance(counts, np.ndarray) and isinstance(boxes, torch.Tensor if stays else np.ndarray)
    assert waited == ["default"] * 4 * stays, "what still reads the memory that is written is waited for"
    (recording,) = lane._graphs._kept.values()
    assert recording.graph.replays == 3


def test_batches_that_are_placed_on_the_device_come_back_final_too(lane_of):
    lane = lane_of(rows_of)
    image = np.full((30, 40, 3), 7, np.uint8)
    placement = place_fit((30, 40), (24, 32), DEFAULT)
    packed = pack([(image, placement)], np.empty(5000, np.uint8), plan_of(CARD))
    rules = NmsRules(9, None, 0.5, 0.5, 0.001, 0, False)
    row = np.array([placement_row(placement, DEFAULT)], np.float32)
    _, scores, _, counts = lane.run(packed, (row, Finishing(rules)))
    raw = RawDetections(*(each.numpy() for each in rows_of(torch.full((1, 1, 1, 3), 7))))
    np.testing.assert_array_equal(scores[0], raw.scores[0, :9])
    assert counts.tolist() == [9]
