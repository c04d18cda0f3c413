"""The trained anchor detector as a backend: scored by the same Detector, soft-NMS and COCO evaluation as corners."""

from __future__ import annotations

import numpy as np
import torch

from cornernet.benchmarks.anchor_baseline.anchor_net import AnchorNet
from cornernet.benchmarks.anchor_baseline.anchors import anchor_boxes, decode
from cornernet.engine.backends import RawDetections
from cornernet.engine.model_card import ModelCard

LEAST_SCORE, MOST_PER_LEVEL, ROWS = 0.05, 1000, 1000
"""RetinaNet, section 4.1: scores above 0.05, the best 1000 of each level."""


class AnchorBackend:
    """See `Backend`. The network stays the caller's."""

    name = "anchors"

    def __init__(self, network: AnchorNet, card: ModelCard, device: torch.device) -> None:
        self.card, self.device = card, device
        self._network = network.to(device).eval()
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (card.mean, card.std)
        )

    def run(self, canvases: np.ndarray) -> RawDetections:
        images = torch.from_numpy(np.ascontiguousarray(canvases)).to(self.device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            answers = self._network.last_stack((images.float() / 255 - self._mean) / self._std)
            scores, deltas = answers.logits.float().sigmoid().cpu().numpy(), answers.deltas.float().cpu().numpy()
        anchors = anchor_boxes(canvases.shape[1:3], self._network.strides)
        found = [self._best(one, other, anchors, canvases.shape[1:3]) for one, other in zip(scores, deltas)]
        return RawDetections(*map(np.stack, zip(*found)))

    def close(self) -> None:
        """Nothing to free."""

    def _best(
        self, scores: np.ndarray, deltas: np.ndarray, anchors: np.ndarray, size: tuple[int, ...]
    ) -> tuple[np.ndarray, ...]:
        """scores (A, C), deltas (A, 4) of one canvas -> one row of each output."""
        chosen = []
        for first, last in self._levels(size):
            level = scores[first:last].ravel()
            above = np.flatnonzero(level > LEAST_SCORE)
            best = above[np.argsort(-level[above], kind="stable")[:MOST_PER_LEVEL]]
            chosen.append(best + first * scores.shape[1])
        index = np.concatenate(chosen)
        index = index[np.argsort(-scores.ravel()[index], kind="stable")[:ROWS]]
        at, label = np.divmod(index, scores.shape[1])
        count = len(index)
        boxes, values = np.zeros((ROWS, 4), np.float32), np.full(ROWS, -1, np.float32)
        labels = np.full(ROWS, -1, np.int32)
        boxes[:count], values[:count] = decode(anchors[at], deltas[at]), scores.ravel()[index]
        labels[:count] = label
        return boxes, values, np.stack([values, values], axis=1), labels, np.array(count, np.int32)

    def _levels(self, size: tuple[int, ...]) -> list[tuple[int, int]]:
        """The range of anchors of each level."""
        ends = np.cumsum([0] + [len(anchor_boxes(tuple(size), (stride,))) for stride in self._network.strides])
        return list(zip(ends[:-1].tolist(), ends[1:].tolist()))
