"""The gate between export and file: ONNX Runtime must compute what torch computes, at sizes the exporter did not see.

Comparing final boxes alone would either miss errors or stumble over near-equal scores that swap places. So each link of
the chain is compared on the data that ONNX Runtime itself produced up to there:

    images -> heatmaps               torch's dense heads, within the tolerance
    heatmaps -> peaks                torch.corner_peaks of ONNX Runtime's heatmaps: the same cells and labels in order
                                     (run apart: ONNX Runtime joins float16 nodes in float32, without rounding)
    peaks -> embeddings, positions   torch's dense heads at ONNX Runtime's cells, within the tolerance
    corners -> boxes                 torch.corner_group of ONNX Runtime's corners: the same rows in order

and of a CornerNet-Saccade

    images -> attention maps         torch's, within the tolerance
    maps -> peaks                    torch.attention_peaks of ONNX Runtime's maps: the same cells in order (run apart)
    peaks                            torch's maps at the cells that the file gives: its scores, within the tolerance

The reference network is float32 for every precision. Last, the boxes that torch is sure of are looked up in the file's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor

from cornernet.engine.errors import BackendError, ExportError
from cornernet.engine.installation import install
from cornernet.engine.model_card import ATTENTION_MAPS, INPUT, OUTPUTS, ModelCard
from cornernet.export import subgraph
from cornernet.export.tidy_graph import DECODER_TENSORS
from cornernet.trainer.deploy.decode import (
    CornerPairs,
    Corners,
    attention_peaks,
    cell_size,
    corner_group,
    corner_peaks,
    read_cells,
    reject_border,
)
from cornernet.trainer.deploy.deployed import DeployedHeads, DeployedNetwork
from cornernet.trainer.network.corner_net import CornerNet, Heads, SaccadeHeads

try:
    import onnxruntime
except ImportError as missing:
    raise BackendError(f"export compares each file with torch in ONNX Runtime: {install('cpu')}") from missing

Tensors = dict[str, Tensor]

MAP_TOLERANCE = {"fp32": 1e-4, "fp16": 5e-2}
"""Largest difference of a map, relative to its largest magnitude where that exceeds 1."""
DECODER_TOLERANCE = 1e-3
"""Of scores [1] and boxes [px], given the same corners: the decoder computes in float32 in every file."""
_CONFIDENT, _SAME_BOX_IOU = 0.3, 0.9
_BOXES_FOUND = {"fp32": 0.99, "fp16": 0.9}


class Difference(NamedTuple):
    """Largest difference of one tensor and what is allowed; inf where rows, cells or labels are others."""

    value: float
    tolerance: float


class Parity(NamedTuple):
    """What was compared. canvases: (N, H, W) [px]; differences by tensor, the largest over all canvases.

    boxes: those torch gives a score of at least 0.3 (0 if it sees nothing in the test images); boxes_found: the share
    of them that has a twin of the same class with IoU >= 0.9 in the file's output.
    """

    canvases: tuple[tuple[int, int, int], ...]
    differences: dict[str, Difference]
    boxes: int
    boxes_found: float


def check_parity(network: CornerNet, card: ModelCard, model: onnx.ModelProto) -> Parity:
    """Run `model` and `network` on the same images. Raises ExportError if they differ by more than the tolerance."""
    sessions = _sessions(model, card)
    heads = DeployedHeads(network, card)
    deployed = DeployedNetwork(network, card) if card.outputs == "detections" else None
    if deployed is not None:
        heads.features = deployed.features  # one copy of the weights is enough
    canvases = tuple(parity_canvases(card))
    worst: dict[str, Difference] = {}
    twins: list[bool] = []
    for seed, canvas in enumerate(canvases):
        images = drawn_images(seed, *canvas)
        got, peaks = _run_all(sessions, images)
        with torch.inference_mode():
            maps = dict(zip(card.map_outputs, _flat(heads(torch.from_numpy(images)))))
            found = dict(
                _map_differences(card, got, maps) if deployed is None else _chain(card, got, peaks, maps, images)
            )
            if deployed is not None:
                expected = CornerPairs(*deployed(torch.from_numpy(images))[: len(OUTPUTS)])
                twins += _have_twins(expected, CornerPairs(*(got[name] for name in OUTPUTS)))
        worst = {name: max(worst.get(name, difference), difference) for name, difference in found.items()}
    parity = Parity(canvases, worst, len(twins), sum(twins) / len(twins) if twins else 1.0)
    _refuse_if_above_tolerance(parity, card)
    return parity


def parity_canvases(card: ModelCard) -> Iterator[tuple[int, int, int]]:
    """(N, H, W) [px]: batches and single images, both orientations, and sides that are no multiple of the size rule."""
    unit = card.size_multiple * max(1, -(-128 // card.size_multiple))
    if unit > card.max_size:
        unit = card.size_multiple
    long = min(2, max(1, card.max_size // unit)) * unit
    yield 2, unit, long
    yield 1, long, unit
    yield 3, unit, unit
    if card.stride > 1:
        yield 1, long - 1, unit - 1  # the paper's canvases are 511 = 4 * 128 - 1 wide


def drawn_images(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """(N, H, W, 3) uint8: soft background, hard-edged rectangles, sensor noise."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, height, width, 3), np.uint8)
    for image in images:
        canvas = cv2.resize(rng.uniform(0, 255, (5, 5, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(12):
            left, top = rng.integers(0, (width, height))
            right, bottom = left + rng.integers(8, max(9, width // 2)), top + rng.integers(8, max(9, height // 2))
            canvas[top:bottom, left:right] = rng.uniform(0, 255, 3)
        image[:] = np.clip(canvas + rng.normal(0, 4, canvas.shape), 0, 255)
    return images


def _chain(
    card: ModelCard, got: Tensors, peaks: Tensors, maps: Tensors, images: np.ndarray
) -> Iterator[tuple[str, Difference]]:
    """Every link from images to boxes; see the module's docstring."""
    yield from _map_differences(card, got, {name: maps[name] for name in ("tl_heatmap", "br_heatmap")})
    both: list[Corners] = []
    for side, names in DECODER_TENSORS.items():
        expected = corner_peaks(got[names["heatmap"]], card.decoder.top_k)
        same = all(torch.equal(peaks[names[key]], value) for key, value in zip(("labels", "cells"), expected[1:]))
        yield f"{side}_peaks", _decoder_difference([(peaks[names["scores"]], expected[0])], same)
        scores, labels, cells, embeddings, x, y = (got[name] for name in list(names.values())[1:])
        dense = maps[f"{side}_embedding"]
        read, *position = read_cells(dense, maps[f"{side}_offset"], cells, clamp=card.decoder.clamp_corners)
        tolerance, scale = MAP_TOLERANCE[card.precision], max(1.0, float(dense.abs().max()))
        yield f"{side}_embedding", Difference(_largest(embeddings, read) / scale, tolerance)
        yield f"{side}_offset", Difference(_largest(torch.stack([x, y]), torch.stack(position)), tolerance)
        if card.decoder.reject_border:
            labels = reject_border(labels, cells, dense, last=side == "br")
        both.append(Corners(scores, labels, embeddings, x, y))
    decoder = card.decoder
    top_left, bottom_right = both
    pairs = corner_group(top_left, bottom_right, decoder.num_dets, decoder.max_distance, decoder.reject_zero_size)
    boxes = pairs.boxes * cell_size(torch.from_numpy(images), got["tl_heatmap"])
    values = [(got["boxes"], boxes), (got["scores"], pairs.scores), (got["corner_scores"], pairs.corner_scores)]
    same = torch.equal(got["labels"], pairs.labels) and torch.equal(got["counts"], pairs.counts)
    yield "boxes", _decoder_difference(values, same)
    if card.saccade is not None:
        yield from _attention(card, got, peaks, maps)


def _attention(card: ModelCard, got: Tensors, peaks: Tensors, maps: Tensors) -> Iterator[tuple[str, Difference]]:
    assert card.saccade is not None
    yield from _map_differences(card, got, {name: maps[name] for name in ATTENTION_MAPS})
    for level, name in enumerate(ATTENTION_MAPS):
        scores, cells = attention_peaks(got[name], card.saccade.locations)
        same = torch.equal(peaks["attention_cells"][:, level], cells)
        yield f"{name}_peaks", _decoder_difference([(peaks["attention_scores"][:, level], scores)], same)
        found, flat = got["attention_scores"][:, level], maps[name].flatten(1)
        at = got["attention_cells"][:, level].long().clamp(0, flat.shape[1] - 1)
        read = torch.where(found < 0, -1.0, flat.gather(1, at).sigmoid())
        yield f"{name}_scores", Difference(_largest(found, read), MAP_TOLERANCE[card.precision])


def _flat(maps: Heads | SaccadeHeads) -> tuple[Tensor, ...]:
    return (*maps.corners, *maps.attention) if isinstance(maps, SaccadeHeads) else maps


def _map_differences(card: ModelCard, got: Tensors, maps: Tensors) -> Iterator[tuple[str, Difference]]:
    for name, expected in maps.items():
        scale = max(1.0, float(expected.abs().max()))
        yield name, Difference(_largest(got[name], expected) / scale, MAP_TOLERANCE[card.precision])


def _decoder_difference(values: list[tuple[Tensor, Tensor]], same: bool) -> Difference:
    return Difference(max(_largest(*pair) for pair in values) if same else float("inf"), DECODER_TOLERANCE)


def _largest(one: Tensor, other: Tensor) -> float:
    """inf if the shapes differ or one has a NaN that the other has not."""
    if one.shape != other.shape or not torch.equal(one.isnan(), other.isnan()):
        return float("inf")
    equal = (one == other) | one.isnan()
    return float(torch.where(equal, 0.0, (one.float() - other.float()).abs()).max())


def _have_twins(expected: CornerPairs, got: CornerPairs) -> list[bool]:
    """For each box that torch is sure of: is there one like it?"""
    twins: list[bool] = []
    for image in range(len(expected.boxes)):
        sure = expected.scores[image] >= _CONFIDENT
        one, other = expected.boxes[image][sure][:, None], got.boxes[image][None]
        shared = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp(
            min=0
        )
        area_one, area_other = (((box[..., 2:] - box[..., :2]).prod(dim=-1)) for box in (one, other))
        shared_area = shared.prod(dim=-1)
        alike = shared_area >= _SAME_BOX_IOU * (area_one + area_other - shared_area)
        alike &= expected.labels[image][sure][:, None] == got.labels[image][None]
        twins += alike.any(dim=1).tolist()
    return twins


def _sessions(model: onnx.ModelProto, card: ModelCard) -> list[onnxruntime.InferenceSession]:
    """The model, giving the tensors between its operators too; and its peak operators alone."""
    if card.outputs == "heads":
        return [_open(model)]
    outputs, own = model.graph.output, len(model.graph.output)
    maps = subgraph.attention_maps(card)
    outputs.extend(subgraph.decoder_tensors(card, DECODER_TENSORS["tl"]) + maps)
    whole = _open(model)
    del outputs[own:]
    found = subgraph.decoder_tensors(card, ["scores", "labels", "cells"]) + subgraph.attention_peaks(card)
    peaks = subgraph.part_between(model, subgraph.decoder_tensors(card, ["heatmap"]) + maps, found)
    return [whole, _open(peaks)]


def _open(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a dozen types that share no base of their own
        raise ExportError(f"ONNX Runtime {onnxruntime.__version__} refuses the exported graph: {error}") from error


def _run(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, inputs)))
    except Exception as error:  # as above
        shapes = {name: value.shape for name, value in inputs.items()}
        raise ExportError(f"ONNX Runtime cannot run the exported graph on {shapes}: {error}") from error


def _run_all(sessions: list[onnxruntime.InferenceSession], images: np.ndarray) -> tuple[Tensors, Tensors]:
    """All tensors of the model; and the peaks found in its heatmaps."""
    got = _run(sessions[0], {INPUT: images})
    peaks = [_run(session, {value.name: got[value.name] for value in session.get_inputs()}) for session in sessions[1:]]
    return _to_torch(got), _to_torch(peaks[0] if peaks else {})


def _to_torch(values: dict[str, np.ndarray]) -> Tensors:
    return {name: torch.from_numpy(value) for name, value in values.items()}


def _refuse_if_above_tolerance(parity: Parity, card: ModelCard) -> None:
    above = {name: difference for name, difference in parity.differences.items() if not difference[0] <= difference[1]}
    canvases = ", ".join("x".join(map(str, canvas)) for canvas in parity.canvases)
    if above:
        listed = ", ".join(f"{name} {value:.2g} (at most {limit:.2g})" for name, (value, limit) in above.items())
        raise ExportError(
            f"{card.name}, {card.precision}: ONNX Runtime differs from torch on canvases {canvases}: {listed}. "
            "No file was written. With fp16, activations may leave float16's range: use precision='fp32'."
        )
    if parity.boxes_found < _BOXES_FOUND[card.precision]:
        raise ExportError(
            f"{card.name}, {card.precision}: the file finds {parity.boxes_found:.1%} of the {parity.boxes} boxes that "
            f"torch is sure of; expected at least {_BOXES_FOUND[card.precision]:.0%}. No file was written. "
            "Use precision='fp32'."
        )
