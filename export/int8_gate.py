"""Does the int8 file find what the float32 file finds? On the calibration pictures always, on a data set if given.

Blocks that cost too much are found one by one: each is put back to float alone, and the one that mends most stays so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from cornernet.engine.backends import Backend, Outputs
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.export.quantise import blocks_of, leave_in_float

CONFIDENT = 0.3
"""Boxes of the float32 file with this score are looked for in the int8 file."""
WANTED_AGREEMENT, LEAST_AGREEMENT = 0.93, 0.85
"""Below the first, blocks are put back to float; below the second, no file is written."""
MOST_FLOAT_BLOCKS = 4
_PICTURES_FOR_SEARCH = 16
_CANDIDATES = 3
"""The best on few pictures are compared on all: few pictures rank well, but not to the last place."""
_CROPS = 2
"""Of each picture that a Saccade calibrates on and is compared on, beside its two views: canvases of objects weigh as
much as whole images, and each canvas costs as much as a picture costs another network."""

Step = Callable[[str], None]


class Agreement(NamedTuple):
    """boxes: that the float32 file is sure of. found: share of them with a twin (IoU >= 0.5, same class) in the int8
    file. iou: mean overlap with the best box of the same class, 0 where there is none."""

    boxes: int
    found: float
    iou: float


class Found(NamedTuple):
    """A model as a search result. blocks: those left in float."""

    model: onnx.ModelProto
    blocks: tuple[str, ...]
    agreement: Agreement


def agreement(expected: Sequence[Detections], got: Sequence[Detections]) -> Agreement:
    """How well `got` finds the confident boxes of `expected`, picture by picture."""
    overlaps: list[float] = []
    for one, other in zip(expected, got, strict=True):
        for box, score, label in zip(one.boxes, one.scores, one.labels):
            if score >= CONFIDENT:
                rivals = other.boxes[other.labels == label]
                overlaps.append(float(_iou(box, rivals).max()) if len(rivals) else 0.0)
    if not overlaps:
        return Agreement(0, 1.0, 1.0)
    return Agreement(len(overlaps), float(np.mean([iou >= 0.5 for iou in overlaps])), float(np.mean(overlaps)))


def search_float_blocks(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    pictures: Sequence[Path],
    step: Step = lambda text: None,
    enough: Callable[[Found], bool] = lambda found: True,
) -> Found:
    """`quantised`, with as few blocks back in float as WANTED_AGREEMENT and `enough` take, at most MOST_FLOAT_BLOCKS.

    Raises ExportError if the float32 model sees nothing in the pictures, or no choice reaches LEAST_AGREEMENT.
    """
    expected = _detect(model, pictures)
    best = Found(quantised, (), agreement(expected, _detect(quantised, pictures)))
    if best.agreement.boxes == 0:
        raise ExportError(
            f"the float32 model is sure of no box (score {CONFIDENT} or more) in {len(pictures)} calibration pictures, "
            "so nothing says whether int8 finds the same. Calibrate on pictures that show what it was trained for."
        )
    few = sorted(range(len(pictures)), key=lambda i: -int((expected[i].scores >= CONFIDENT).sum()))
    few = few[:_PICTURES_FOR_SEARCH]
    chosen, truth = [pictures[i] for i in few], [expected[i] for i in few]

    def right(found: Found) -> bool:
        return found.agreement.iou >= WANTED_AGREEMENT and enough(found)

    latest = best
    while len(latest.blocks) < MOST_FLOAT_BLOCKS and not right(latest):
        scores = {}
        for block in blocks_of(model):
            if block not in latest.blocks:
                step(f"{block} in float")
                tried = leave_in_float(quantised, model, (*latest.blocks, block))
                scores[block] = agreement(truth, _detect(tried, chosen)).iou
        candidates = []
        for block in sorted(scores, key=scores.__getitem__, reverse=True)[:_CANDIDATES]:
            candidate = leave_in_float(quantised, model, (*latest.blocks, block))
            agreed = agreement(expected, _detect(candidate, pictures))
            candidates.append(Found(candidate, (*latest.blocks, block), agreed))
        latest = max(candidates, key=lambda found: found.agreement.iou)  # it may need the next one beside it to help
        if latest.agreement.iou > best.agreement.iou or right(latest):
            best = latest
    if best.agreement.iou < LEAST_AGREEMENT:
        raise ExportError(
            f"int8 finds the {best.agreement.boxes} boxes of float32 with a mean overlap of {best.agreement.iou:.2f} "
            f"only (at least {LEAST_AGREEMENT}), with {', '.join(best.blocks) or 'no block'} in float. No file "
            "was written. Calibrate on more pictures, of the kind that the model will see, or use --precision fp16."
        )
    return best


class _Recorder:
    """A backend that keeps what it is given to look at."""

    def __init__(self, backend: Backend) -> None:
        self.card, self.name = backend.card, backend.name
        self.canvases: list[np.ndarray] = []
        self._backend = backend

    def run(self, canvases: np.ndarray) -> Outputs:
        self.canvases += [canvas[None].copy() for canvas in canvases]
        return self._backend.run(canvases)

    def close(self) -> None:
        self._backend.close()


def seen_by_saccade(model: onnx.ModelProto, pictures: Sequence[Path]) -> list[np.ndarray]:
    """(1, H, W, 3) uint8 each: the views of the pictures, and the crops that the model asks for."""
    with _running(model) as backend:
        recorder = _Recorder(backend)
        with Detector(recorder, score_threshold=0, max_crops=_few_crops(backend.card)) as detector:
            detector.predict(list(pictures))
        return recorder.canvases


def average_precision(model: onnx.ModelProto, dataset: CocoDataset) -> float:
    """COCO's AP of the file, through ONNX Runtime, as `cornernet evaluate` measures it."""
    with _opened(model) as detector:
        return evaluate(detector, dataset).stats["AP"]


def _detect(model: onnx.ModelProto, pictures: Sequence[Path]) -> list[Detections]:
    with _opened(model, few_crops=True) as detector:
        return detector.predict(list(pictures))


def _few_crops(card: ModelCard) -> int | None:
    return None if card.saccade is None else min(_CROPS, card.saccade.max_crops)


@contextmanager
def _opened(model: onnx.ModelProto, *, few_crops: bool = False) -> Iterator[Detector]:
    with _running(model) as backend:
        most = _few_crops(backend.card) if few_crops else None
        with Detector(backend, score_threshold=0, max_crops=most) as detector:
            yield detector


@contextmanager
def _running(model: onnx.ModelProto) -> Iterator[OnnxRuntimeBackend]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        backend = OnnxRuntimeBackend(path, providers=["CPUExecutionProvider"])
        try:
            yield backend
        finally:
            backend.close()


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(4,), (n, 4) [px] -> (n,)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    return shared / np.maximum(area + areas - shared, np.finfo(np.float32).tiny)
