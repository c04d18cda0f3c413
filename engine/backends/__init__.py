"""Runtimes behind one interface: canvases in, raw detections out. One file per optional dependency.

Start with open.py, which chooses; onnxruntime.py is a backend in one file, tensorrt.py the one of several.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cornernet.engine.model_card import ModelCard


class RawDetections(NamedTuple):
    """The five outputs of the ONNX contract, canvas coordinates.

    boxes         (N, D, 4) float32 [px, canvas] x1 y1 x2 y2
    scores        (N, D)    float32 descending; -1 in unused rows
    corner_scores (N, D, 2) float32 top-left, bottom-right
    labels        (N, D)    int32   class index from 0; -1 in unused rows
    counts        (N,)      int32   valid rows per image
    """

    boxes: np.ndarray
    scores: np.ndarray
    corner_scores: np.ndarray
    labels: np.ndarray
    counts: np.ndarray


class SaccadeDetections(NamedTuple):
    """The outputs of a CornerNet-Saccade: those of RawDetections, and the attention of its three levels, from large to
    small objects: P = `card.saccade.locations` peaks each.

    attention_scores (N, 3, P) float32 descending, in 0..1; -1 in unused rows
    attention_cells  (N, 3, P) int32   row * map width + column in the level's map
    """

    boxes: np.ndarray
    scores: np.ndarray
    corner_scores: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    attention_scores: np.ndarray
    attention_cells: np.ndarray


Outputs = RawDetections | SaccadeDetections


def named_outputs(values: Sequence[np.ndarray]) -> Outputs:
    """What a runtime gave in the order of `card.detection_outputs`, by name."""
    return RawDetections(*values) if len(values) == len(RawDetections._fields) else SaccadeDetections(*values)


class Backend(typing.Protocol):
    """A loaded model. `run` is thread-safe and keeps no reference to its argument; `close` frees the device.

    What a backend may have beside this, read through contract.py:
        in_flight: int            batches it wants at once, each from a thread of its own; 1 without it
        computes_on_cpu: bool     whether it needs the cores that also read images; False without it
        takes_float: bool         whether canvases may be float32 too, grey levels that are not whole; False without it
        allocate(size) -> array   (size,) uint8 that it reads without another copy, such as page-locked memory
        places_views: bool        whether it places images itself, on its device; then it has
        run_views(packed)         `run` for canvases that are still to be placed, see placing.py
        check_image(image)        raises ImageError if a DeviceImage does not lie where the model runs
        finishes: bool            whether it post-processes itself, on its device; then it has
        run_final(canvases, placements, finishing)   `run`, or `run_views` of a Packed, to a `Final` an image, see
                                  finishing.py; placements (N, 9) float32, see device_rules.placement_row
    """

    card: ModelCard
    name: str

    def run(self, canvases: np.ndarray) -> Outputs:
        """canvases (N, H, W, 3) uint8 in the card's channel order, H and W legal for the card. Any N >= 1.

        RawDetections; SaccadeDetections if the card says that it is a Saccade."""
        ...

    def close(self) -> None: ...
