"""Validation through what will be deployed: the decoder that is exported, the engine's post-processing, COCO AP."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import torch

from cornernet.engine.detector import Detector
from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.engine.results.detections import Detections
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.evaluation import EvaluationReport, evaluate
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs, count_parameters

PRESET_DECODERS = {
    "hourglass-104": Decoder(top_k=100, num_dets=1000),
    "squeeze": Decoder(top_k=20, num_dets=100),  # CornerNet-Lite's configuration
    "tiny": Decoder(top_k=60, num_dets=200),
}


def make_card(config: TrainConfig, network: CornerNet, data: CocoDataset) -> ModelCard:
    """The card of a network trained on `data`: classes, canvas rule, decoder, cost."""
    decoder = PRESET_DECODERS.get(config.preset, Decoder())
    changes = {"top_k": config.top_k, "num_dets": config.num_dets, "max_distance": config.max_distance}
    decoder = decoder.model_copy(update={key: value for key, value in changes.items() if value is not None})
    multiple = network.config.size_multiple
    canvas = tuple(-(-side // multiple) * multiple for side in config.size)
    return ModelCard(
        name=network.config.name,
        class_names=data.class_names,
        category_ids=data.category_ids,
        stride=network.config.stride,
        size_multiple=multiple,
        max_size=max(1024, *canvas),
        train_size=(canvas[0], canvas[1]),
        decoder=decoder,
        parameters=count_parameters(network).inference,
        gmacs={f"{canvas[0]}x{canvas[1]}": round(count_macs(network.config, *canvas) / 1e9, 3)},
        versions={"cornernet": version("cornernet"), "torch": torch.__version__},
        source=f"trained on {data.annotation_file.name}",
    )


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
