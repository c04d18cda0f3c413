"""Validation through what will be deployed: the decoder that is exported, the engine's post-processing, COCO AP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from cornernet.engine.backends import Outputs
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.coco_stats import find_evaluator
from cornernet.engine.scoring.evaluation import EvaluationReport, evaluate, match_classes
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.corner_net import CornerNet


class _Watched(TorchBackend):
    """Remembers that it failed: the detector makes of it an error of each image, like that of an unreadable one."""

    failure: BackendError | None = None

    def run(self, canvases: np.ndarray) -> Outputs:
        try:
            return super().run(canvases)
        except BackendError as error:
            self.failure = self.failure or error
            raise


def check_validation(card: ModelCard, data: CocoDataset) -> tuple[str, ...]:
    """Before the first step: can the network be measured on `data`? Notes on classes that only one of them has.

    Raises DatasetError if they have no class in common, BackendError if the evaluator is not installed.
    """
    find_evaluator("auto")
    return match_classes(card.class_names, card.category_ids, data)[1]


def open_detector(backend: TorchBackend) -> Detector:
    """A Detector over live weights, at the training canvas."""
    return Detector(backend, resize="fit", size=backend.card.train_size)


def measure_ap(
    network: CornerNet,
    card: ModelCard,
    data: CocoDataset,
    device: torch.device,
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> EvaluationReport:
    """COCO numbers of `network` on `data`, through the deployed decoder and post-processing.

    progress: as in `evaluate`. Unreadable pictures are in the report's errors.
    Raises TrainingError if the network failed on a batch, or if no picture could be used: that is no AP of 0.
    """
    backend = _Watched(network, card, device=device)
    with open_detector(backend) as detector:
        report = evaluate(detector, data, batch_size=batch_size, progress=progress)
    if backend.failure is not None:
        raise TrainingError(
            f"the network could not be run on {len(report.errors)} of {len(data)} validation pictures: "
            f"{backend.failure} If memory is short, a smaller --size needs less, and --val-split none is without."
        )
    if len(report.errors) == len(data):
        image, message = report.errors[0]
        raise TrainingError(f"none of the {len(data)} validation pictures could be used. The first, {image}: {message}")
    return report


def predict_samples(
    network: CornerNet, card: ModelCard, samples: Sequence[Sample], device: torch.device
) -> list[Detections]:
    """What the network finds on some samples, for the picture beside the truth."""
    with open_detector(TorchBackend(network, card, device=device)) as detector:
        return detector.predict([sample.path for sample in samples], batch_size=8)
