"""The pictures that a run leaves beside its weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import torch

from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset
from cornernet.trainer.loop import plots
from cornernet.trainer.loop.metrics_file import read_metrics
from cornernet.trainer.loop.validation import predict_samples
from cornernet.trainer.network.corner_net import CornerNet

SHOWN = 8
"""Validation pictures beside their truth."""


def draw_run(
    output: Path, network: CornerNet, card: ModelCard, val_data: CocoDataset | None, device: torch.device
) -> Exception | None:
    """Draw losses.png and, with validation data, ap.png and predictions.png. Returns what prevented one.

    What was trained is saved already: a picture that cannot be drawn is no failure of the run.
    """
    try:
        metrics = read_metrics(output / "metrics.jsonl")
        plots.plot_losses(metrics, output / "losses.png")
        if val_data is not None:
            plots.plot_ap(metrics, output / "ap.png")
            samples = val_data.samples[:SHOWN]
            found = predict_samples(network, card, samples, device)
            plots.draw_beside_truth(samples, found, card.class_names, output / "predictions.png")
    except (OSError, ValueError, RuntimeError, cv2.error) as error:
        return error
    return None
