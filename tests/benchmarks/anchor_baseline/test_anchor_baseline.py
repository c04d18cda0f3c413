"""The baseline on the loop of the corners and behind the Detector: losses by hand, a picture learnt by heart."""

import math

import numpy as np
import pytest
import torch

from cornernet.benchmarks.anchor_baseline.anchor_backend import AnchorBackend
from cornernet.benchmarks.anchor_baseline.anchor_method import anchor_loss, count_anchors
from cornernet.benchmarks.anchor_baseline.anchor_net import PRIOR, AnchorAnswers, AnchorNet, _flat
from cornernet.benchmarks.anchor_baseline.anchors import BACKGROUND, IGNORED, AnchorTargets, anchor_boxes, match
from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.network.cost import count_macs, count_parameters
from cornernet.trainer.network.presets import preset

SIZE = (64, 96)


def test_the_loss_is_that_of_the_formulas_written_out():
    logits = torch.tensor([[[1.0, -2.0], [0.5, 0.3], [-1.0, 2.0]]], dtype=torch.float64)
    deltas = torch.tensor([[[0.05, 0.0, -2.0, 0.0], [9.0] * 4, [9.0] * 4]])
    targets = AnchorTargets(torch.tensor([[1, BACKGROUND, IGNORED]]), torch.zeros(1, 3, 4))

    def term(probability, alpha):
        return -alpha * (1 - probability) ** 2 * math.log(probability)

    def p(logit):
        return 1 / (1 + math.exp(-logit))

    focal = term(1 - p(1.0), 0.75) + term(p(-2.0), 0.25) + term(1 - p(0.5), 0.75) + term(1 - p(0.3), 0.75)
    box = 0.05**2 / 2 * 9 + (2.0 - 1 / 18)
    terms = anchor_loss([AnchorAnswers(logits, deltas)], targets)
    assert terms.focal.item() == pytest.approx(focal, rel=1e-5)
    assert terms.box.item() == pytest.approx(box, rel=1e-5)
    twice = anchor_loss([AnchorAnswers(logits, deltas)] * 2, targets)
    assert twice.total.item() == pytest.approx(focal + box, rel=1e-5)
    assert count_anchors(targets).objects == 1


def test_answers_lie_in_the_order_of_the_anchors_and_start_at_the_prior():
    network = AnchorNet(preset("tiny", 3)).eval()
    answers = network(torch.zeros(2, 3, *SIZE))
    assert [tuple(one.logits.shape) for one in answers] == [(2, len(anchor_boxes(SIZE, network.strides)), 3)]
    assert answers[0].deltas.shape[1:] == (len(anchor_boxes(SIZE, network.strides)), 4)
    assert answers[0].logits.sigmoid().median().item() == pytest.approx(PRIOR, rel=0.5)
    # One anchor of one cell moves with its own part of the answer only.
    level = torch.zeros(1, 9 * 3, 8, 12)
    level[0, 4 * 3 + 2, 5, 7] = 1
    (found,) = torch.nonzero(_flat(level, 3)[0]).tolist()
    assert found == [(5 * 12 + 7) * 9 + 4, 2]


def test_every_stack_answers_at_all_resolutions_and_the_last_alone_costs_inference():
    config = preset("hourglass-104", 2)
    with torch.device("meta"):
        network = AnchorNet(config).eval()
        assert network.strides == (4, 8, 16, 32, 64)
        answers = network(torch.empty(1, 3, 128, 128))
    assert len(answers) == 2 and answers[0].logits.shape == (1, 9 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2), 2)
    counted = count_parameters(network)
    assert counted.total - counted.inference == sum(parameter.numel() for parameter in network.heads[0].parameters())
    assert count_macs(config, 128, 128, AnchorNet) > 0


def test_a_pyramid_is_refused():
    with pytest.raises(ModelError, match="compared on the hourglass"):
        AnchorNet(preset("fpn-tiny", 2))


class Oracle(torch.nn.Module):
    """Answers as a perfect network would."""

    strides = (4, 8, 16)

    def __init__(self, boxes, labels, classes):
        super().__init__()
        anchors = anchor_boxes(SIZE, self.strides)
        truth = match(anchors, boxes, labels)
        logits = torch.full((1, len(anchors), classes), -9.0)
        for at in np.flatnonzero(truth.labels >= 0):
            logits[0, at, truth.labels[at]] = 3.0
        self.answers = AnchorAnswers(logits, torch.from_numpy(truth.deltas)[None])

    def last_stack(self, images):
        return AnchorAnswers(*(part.expand(len(images), -1, -1) for part in self.answers))


def test_a_perfect_network_behind_the_detector_finds_the_boxes():
    boxes, labels = np.float32([[10, 12, 40, 50], [50, 5, 90, 30]]), np.array([1, 0])
    card = ModelCard(name="a", class_names=("x", "y"), category_ids=(1, 2), size_multiple=32, train_size=SIZE)
    backend = AnchorBackend(Oracle(boxes, labels, 2), card, torch.device("cpu"))
    with Detector(backend, resize="fit", score_threshold=0.5) as detector:
        first, second = detector.predict([np.zeros((*SIZE, 3), np.uint8)] * 2)
    for found in (first, second):
        order = np.argsort(found.boxes[:, 0])
        np.testing.assert_allclose(found.boxes[order], boxes, atol=0.1)
        assert found.labels[order].tolist() == [1, 0]


@pytest.mark.slow
def test_a_picture_is_learnt_by_heart_on_the_loop_of_the_corners(tmp_path):
    from cornernet.benchmarks.analyses.compared_backbones import run_row
    from cornernet.engine.scoring.coco import load_coco
    from cornernet.trainer.data.shapes import generate_shapes

    # Of such pictures all objects are larger than half of the smallest anchor: below nothing answers for them.
    folder = generate_shapes(tmp_path / "shapes", train=4, val=1, seed=3, size=(128, 128))
    data = load_coco(folder, "train")
    budget = {"size": (128, 128), "epochs": 80, "batch_size": 4, "ema_decay": 0.9, "log_every": 40}
    plain = {"augment": {"scales": [1.0], "border": 0.5, "colour": 0.0, "lighting": 0.0, "flip": 0.0}}
    run = run_row("hourglass_anchors", data, data, tmp_path, device="cpu", **budget, **plain)
    assert run.stats["AP50"] > 0.5
    assert run.steps == 80
