"""Which shapes are recorded, and a lane of the torch backend on a stand-in for CUDA."""

from __future__ import annotations

import contextlib
import types

import numpy as np
import pytest
import torch
from fake_backends import make_card
from placing_rig import emulated_kernels

from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.geometry import place_fit
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.packing import pack
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.trainer.deploy import cuda_lane
from cornernet.trainer.deploy.cuda_lane import CudaLane
from cornernet.trainer.deploy.shape_graphs import ShapeGraphs


def test_a_shape_is_recorded_when_it_comes_again():
    graphs = ShapeGraphs(lambda shape: f"graph of {shape}")
    assert [graphs.get((1, 8)) for _ in range(3)] == [None, "graph of (1, 8)", "graph of (1, 8)"]


def test_shapes_that_take_turns_record_each_other_away_at_most_rarely():
    recorded: list[tuple[int, ...]] = []
    graphs = ShapeGraphs(lambda shape: recorded.append(shape) or len(recorded), room=4)
    for _ in range(20):
        for size in range(40):
            graphs.get((1, size))
    assert len(recorded) <= 4 + 40 * 20 // (2 + 4)
    assert len(graphs._kept) == 4


def test_a_shape_that_comes_often_gets_room_in_the_end():
    graphs = ShapeGraphs(lambda shape: shape, room=2)
    for size in (1, 1, 2, 2):
        graphs.get((size,))
    assert graphs.get((3,)) is None
    assert [graphs.get((3,)) for _ in range(5)][-1] == (3,)


def test_a_shape_that_cannot_be_recorded_is_tried_once(caplog):
    def fail(shape: tuple[int, ...]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs: ShapeGraphs[None] = ShapeGraphs(fail)
    assert [graphs.get((1,)) for _ in range(5)] == [None] * 5
    assert caplog.text.count("no CUDA graph for canvases (1,)") == 1


def test_without_room_nothing_is_recorded():
    graphs = ShapeGraphs(lambda shape: shape, room=0)
    assert [graphs.get((1,)) for _ in range(4)] == [None] * 4


class Graph:
    """Replays what was done while it was recorded; the network writes into the tensors it gave then."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        Graph.rerun()


@pytest.fixture
def lane(monkeypatch) -> CudaLane:
    """On the CPU, with everything of torch.cuda that a lane uses replaced."""

    def network(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = images.float().sum(dim=(1, 2, 3)), images.amax(dim=(1, 2, 3)).int()

        def rerun() -> None:
            outputs[0].copy_(images.float().sum(dim=(1, 2, 3)))
            outputs[1].copy_(images.amax(dim=(1, 2, 3)).int())

        Graph.rerun = staticmethod(rerun)  # type: ignore[attr-defined]
        return outputs

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
    return CudaLane(network, torch.device("cpu"), graphs=True, launchers=emulated_kernels().launchers)


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
        packed = pack([(each, placement) for each in sources], np.empty(5000, np.uint8), card, DEFAULT)
        wanted = np.stack([place_on_canvas(image, placement, card, DEFAULT) for image in images])
        sums, largest = lane.run(packed)
        np.testing.assert_array_equal(sums, wanted.astype(np.float32).sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(largest, wanted.max(axis=(1, 2, 3)))
    assert waited == ["default", 77]
    (recording,) = lane._graphs._kept.values()
    assert recording.graph.replays == 3


def test_the_decoder_makes_no_tensor_from_host_values(monkeypatch):
    """torch.tensor(value, device="cuda") copies from pageable memory, which no graph may record."""
    from cornernet.trainer.deploy import decode

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a tensor made from a Python value")

    for name in ("tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, refuse)
    logits = torch.rand(1, 2, 8, 8)
    scores, labels, cells = decode.corner_peaks_in_torch(logits, 5)
    side = (scores, labels, scores, scores, scores)
    decode.corner_group_in_torch(*side, *side, 10, 0.5, False)
    decode.corner_windows_in_torch(logits, cells, 3)
    size = decode.cell_size(torch.zeros(1, 32, 64, 3), logits)
    assert size.tolist() == [8.0, 4.0, 8.0, 4.0]
