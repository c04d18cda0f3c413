"""Images with known maps: what an analysis must conclude is decided by the test, not by a network."""

from __future__ import annotations

import numpy as np
import torch

from cornernet.benchmarks.analyses.observe import Network, Observation, Truth
from cornernet.engine.geometry import place_fit
from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.engine.protocol import DEFAULT
from cornernet.trainer.network.corner_net import CornerNet, Heads
from cornernet.trainer.network.presets import preset

CARD = ModelCard(
    name="tiny",
    class_names=("rectangle", "ellipse", "triangle"),
    category_ids=(1, 2, 3),
    size_multiple=32,
    train_size=(64, 64),
    decoder=Decoder(top_k=20, num_dets=50),
)


def random_network(seed: int = 2, **changes) -> Network:
    """The tiny preset with random weights: rough heatmaps, small embeddings, so that most seeds find boxes."""
    torch.manual_seed(seed)
    network = CornerNet(preset("tiny", 3, **changes))
    with torch.no_grad():
        for corner in network.heads[-1].children():
            corner.heatmap[-1].weight *= 50
            corner.embedding[-1].weight *= 0.3
            corner.embedding[-1].bias.zero_()
    return Network(network, CARD)


def truth(boxes, labels, crowd_boxes=(), crowd_labels=()) -> Truth:
    """Objects from plain lists."""
    as_boxes = [np.array(values, np.float32).reshape(-1, 4) for values in (boxes, crowd_boxes)]
    as_labels = [np.array(values, np.int64) for values in (labels, crowd_labels)]
    return Truth(as_boxes[0], as_labels[0], as_boxes[1], as_labels[1])


def scene(top_left, bottom_right, *, classes=3, side=16) -> Observation:
    """A 64x64 px image whose maps (4 px cells, offset 0) hold exactly these corners.

    Each is (x [cell], y [cell], label, score, embedding).
    """
    maps = []
    for found in (top_left, bottom_right):
        logits = torch.full((1, classes, side, side), -torch.inf)
        embedding = torch.zeros(1, 1, side, side)
        for x, y, label, score, value in found:
            logits[0, label, y, x] = torch.logit(torch.tensor(score))
            embedding[0, 0, y, x] = value
        maps.append((logits, embedding, torch.zeros(1, 2, side, side)))
    (first, first_embedding, offset), (second, second_embedding, _) = maps
    heads = Heads(first, second, first_embedding, second_embedding, offset, offset)
    image = np.zeros((4 * side, 4 * side, 3), np.uint8)
    return Observation(image, place_fit((4 * side, 4 * side), (4 * side, 4 * side), DEFAULT), image, heads)
