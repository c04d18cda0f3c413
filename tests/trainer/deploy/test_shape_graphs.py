"""Which shapes are recorded."""

from __future__ import annotations

import torch

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
