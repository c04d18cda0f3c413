"""Validation through what will be deployed: the decoder that is exported, the engine's post-processing, COCO AP."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cornernet.engine.detector import Detector
from cornernet.engine.model_card import ModelCard
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.evaluation import EvaluationReport, evaluate
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.corner_net import CornerNet


def open_detector(network: CornerNet, card: ModelCard, device: torch.device) -> Detector:
    """A Detector over live weights, at the training canvas."""
    return Detector(TorchBackend(network, card, device=device), resize="fit", size=card.train_size)


def measure_ap(network: CornerNet, card: ModelCard, data: CocoDataset, device: torch.device) -> EvaluationReport:
    """COCO numbers of `network` on `data`, through the deployed decoder and post-processing."""
    with open_detector(network, card, device) as detector:
        return evaluate(detector, data, batch_size=8)


def predict_samples(
    network: CornerNet, card: ModelCard, samples: Sequence[Sample], device: torch.device
) -> list[Detections]:
    """What the network finds on some samples, for the picture beside the truth."""
    with open_detector(network, card, device) as detector:
        return detector.predict([sample.path for sample in samples], batch_size=8)
