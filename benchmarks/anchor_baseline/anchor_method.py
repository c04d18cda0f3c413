"""How anchors are trained on the loop of the corners: the same views of the pictures, other targets and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cornernet.benchmarks.anchor_baseline.anchor_net import AnchorAnswers, AnchorNet, level_strides
from cornernet.benchmarks.anchor_baseline.anchors import BACKGROUND, IGNORED, AnchorTargets, anchor_boxes, match
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.data.augment import augment
from cornernet.trainer.data.sampling import CornerSampling, Example
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.method import Kind, Method, check_canvas
from cornernet.trainer.network.presets import NetworkConfig

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (RetinaNet, section 5.1)."""
BETA = 1 / 9
"""Of smooth L1, where it turns from square to straight; Detectron's value."""


class AnchorTerms(NamedTuple):
    """Scalars, float32, averaged over the stacks; `total` is their sum."""

    total: Tensor
    focal: Tensor
    box: Tensor


class AnchorCounts(NamedTuple):
    """objects: anchors that answer for one, at least 1, by which both terms are divided."""

    objects: Tensor


@dataclass(frozen=True)
class AnchorSampling(CornerSampling):
    """The views of CornerSampling, and anchors as targets. strides: of the levels, finest first [px/cell]."""

    strides: tuple[int, ...] = ()

    def __call__(self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Example:
        view = augment(image, boxes, labels, rng, size=self.size, config=self.config, card=self.card)
        solid = (view.boxes[:, 2:] > view.boxes[:, :2]).all(axis=1)
        anchors = anchor_boxes(self.size, self.strides)
        return Example(view.image, match(anchors, view.boxes[solid], view.labels[solid]))


def count_anchors(targets: AnchorTargets) -> AnchorCounts:
    return AnchorCounts((targets.labels >= 0).sum().float().clamp(min=1))


def anchor_loss(
    stacks: list[AnchorAnswers], targets: AnchorTargets, *, counts: AnchorCounts | None = None, processes: int = 1
) -> AnchorTerms:
    """Focal loss over all anchors but the ignored, smooth L1 over those of objects; see `corner_loss` for the rest."""
    objects = (count_anchors(targets) if counts is None else counts).objects
    per_stack = [torch.stack([focal(stack.logits, targets), box(stack.deltas, targets)]) for stack in stacks]
    focal_term, box_term = torch.stack(per_stack).mean(dim=0).mul(processes).div(objects).unbind()
    return AnchorTerms(focal_term + box_term, focal_term, box_term)


def focal(logits: Tensor, targets: AnchorTargets) -> Tensor:
    """Sum over anchors (N, A) and classes of -a (1 - p)^2 log p, p the probability of the truth, a 0.25 or 0.75."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    truth = targets.labels[..., None] == classes
    counted = (targets.labels != IGNORED)[..., None]
    signed = torch.where(truth, logits.float(), -logits.float())
    weight = torch.where(truth, ALPHA, 1 - ALPHA) * torch.sigmoid(-signed) ** GAMMA
    return (-weight * functional.logsigmoid(signed) * counted).sum()


def box(deltas: Tensor, targets: AnchorTargets) -> Tensor:
    """Sum of smooth L1 over the anchors of objects."""
    objects = (targets.labels > BACKGROUND)[..., None]
    wrong = functional.smooth_l1_loss(deltas.float(), targets.deltas, reduction="none", beta=BETA)
    return (wrong * objects).sum()


def anchor_method(network: NetworkConfig, card: ModelCard, config: TrainConfig) -> Method:
    """How anchors are trained. Raises TrainingError if the canvas does not fit."""
    check_canvas(config.size, network)
    sampling = AnchorSampling(card, config.size, network.stride, config.augment, strides=level_strides(network))
    return Method(sampling, count_anchors, anchor_loss)


ANCHORS = Kind(AnchorNet, anchor_method)
