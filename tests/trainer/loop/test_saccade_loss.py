"""The loss of a CornerNet-Saccade: the official code's values and gradients, and the definition in plain loops."""

import zlib

import numpy as np
import oracles_saccade_training as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.data.saccade_targets import AttentionMaps, SaccadeTargets, saccade_targets
from cornernet.trainer.data.targets import CornerTargets
from cornernet.trainer.loop.losses import corner_loss
from cornernet.trainer.loop.saccade_loss import SaccadeCounts, SaccadeLossConfig, count_attended, saccade_loss
from cornernet.trainer.network.attention import Attention
from cornernet.trainer.network.corner_net import Heads, SaccadeHeads

OFFICIAL = SaccadeLossConfig(peaks="all", attention="centres", stacks="twice")
CORNERS = {"tl_heat": 80, "br_heat": 80, "tl_tag": 1, "br_tag": 1, "tl_off": 2, "br_off": 2}
TARGETS = ("tl_heat", "br_heat", "tl_regr", "br_regr", "tl_tag_ind", "br_tag_ind")


def official_predictions(name, images):
    """Heads of three stacks by the formula of the golden numbers."""

    def draw(stack, head, shape, factor, shift):
        seed = zlib.crc32(f"{name}:s{stack}.{head}".encode())
        numbers = np.random.Generator(np.random.PCG64(seed)).standard_normal(int(np.prod(shape)))
        return torch.tensor((factor * numbers + shift).astype(np.float32).reshape(shape), requires_grad=True)

    kinds = {"heat": (1.5, -3), "tag": (1, 0), "off": (0.5, 0)}
    return [
        SaccadeHeads(
            Heads(*(draw(s, head, (images, n, 64, 64), *kinds[head[3:]]) for head, n in CORNERS.items())),
            Attention(*(draw(s, f"att{i}", (images, 1, n, n), 1.5, -2) for i, n in enumerate((16, 32, 64)))),
        )
        for s in range(3)
    ]


def official_targets(data):
    corners = CornerTargets(*(torch.tensor(data[key]) for key in TARGETS), torch.tensor(data["tag_mask"]).bool())
    weights = torch.tensor(data["tl_valid"]), torch.tensor(data["br_valid"])
    return SaccadeTargets(corners, *weights, AttentionMaps(*(torch.tensor(data[f"att{i}"]) for i in range(3))))


@pytest.mark.parametrize("index", range(4))
def test_losses_and_gradients_equal_the_official_ones(golden, index):
    file = golden / "h_saccade" / f"targets_losses_{index}.npz"
    if not file.is_file():
        pytest.skip(f"needs ../shared/golden/h_saccade/{file.name}, which is not there")
    data = dict(np.load(file))
    stacks = official_predictions(file.stem, len(data["order"]))
    terms = saccade_loss(stacks, official_targets(data), config=OFFICIAL)
    terms.total.backward()

    def mean(*names, weight=1.0):
        return weight * sum(float(data[f"s{s}.{term}"]) for s in range(3) for term in names) / 3

    assert terms.total.item() == pytest.approx(float(data["total_loss"][0]), rel=1e-4)
    assert terms.focal.item() == pytest.approx(mean("focal_tl", "focal_br"), rel=1e-4)
    assert terms.pull.item() == pytest.approx(mean("pull_unweighted", weight=0.1), rel=1e-4)
    assert terms.push.item() == pytest.approx(mean("push_unweighted", weight=0.1), rel=1e-4)
    assert terms.offset.item() == pytest.approx(mean("regr_tl", "regr_br"), rel=1e-4)
    levels = mean("att0_focal", "att1_focal", "att2_focal", weight=1 / 3)
    assert terms.attention.item() == pytest.approx(levels, rel=1e-4)
    for s, stack in enumerate(stacks):
        for level, logits in enumerate(stack.attention):
            expected = data[f"grad.s{s}.att{level}"]
            np.testing.assert_allclose(logits.grad, expected, rtol=1e-4, atol=1e-7 + 1e-5 * abs(expected).max())
        for name, tensor in zip(CORNERS, stack.corners):
            gradient = tensor.grad.double().numpy()
            assert abs(gradient).sum() == pytest.approx(float(data[f"grad_abs_sum.s{s}.{name}"]), rel=1e-4)
            sample = gradient[:, ::9, 5::16, 3::16]
            np.testing.assert_allclose(sample, data[f"grad_sample.s{s}.{name}"], rtol=1e-3, atol=1e-6)


def random_targets(rng, objects, side=32):
    """Targets of small canvases with so many objects each."""
    built = []
    for count in objects:
        boxes = np.sort(rng.uniform(0, side, (count, 2, 2)), axis=1).reshape(-1, 4)
        built.append(saccade_targets(boxes, rng.integers(2, size=count), rng.random(count) < 0.6, num_classes=2,
                                     side=side, stride=4, attention_strides=(16, 8, 4), bounds=(12, 4),
                                     max_objects=6))  # fmt: skip
    return torch.utils.data.default_collate(built)


def random_stacks(rng, images, count=2, side=32):
    def tensor(channels, stride):
        return torch.tensor(rng.normal(size=(images, channels, side // stride, side // stride)), dtype=torch.float32)

    return [
        SaccadeHeads(
            Heads(*(tensor(channels, 4).requires_grad_() for channels in (2, 2, 1, 1, 2, 2))),
            Attention(*(tensor(1, stride).requires_grad_() for stride in (16, 8, 4))),
        )
        for _ in range(count)
    ]


@settings(max_examples=25, deadline=None)
@given(
    objects=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    peaks=st.sampled_from(["counted", "all"]),
    attention=st.sampled_from(["images", "centres"]),
    often=st.sampled_from(["once", "twice"]),
)
def test_losses_equal_the_definition_in_plain_loops(objects, seed, peaks, attention, often):
    rng = np.random.default_rng(seed)
    targets, stacks = random_targets(rng, objects), random_stacks(rng, len(objects))
    config = SaccadeLossConfig(peaks=peaks, attention=attention, stacks=often)
    terms = saccade_loss(stacks, targets, config=config)
    expected = 0.0
    for stack in stacks:
        for logits, heatmap, weight in (
            (stack.corners.top_left_heatmap, targets.corners.top_left_heatmap, targets.top_left_weight),
            (stack.corners.bottom_right_heatmap, targets.corners.bottom_right_heatmap, targets.bottom_right_weight),
        ):
            arrays = [array.detach().double().numpy() for array in (logits, heatmap, weight)]
            positive = (arrays[1] == 1) & ((arrays[2] == 1) | (peaks == "all"))
            expected += oracles.focal_loss(*arrays, positive.sum()) / len(stacks)
    assert terms.focal.item() == pytest.approx(expected, rel=1e-4)
    maps = [[logits.detach().double().numpy() for logits in stack.attention] for stack in stacks]
    levels = [wanted.numpy() for wanted in targets.attention]
    expected = oracles.attention_loss(
        maps, levels, images=len(objects), at_least_images=attention == "images", twice=often == "twice"
    )
    assert terms.attention.item() == pytest.approx(expected, rel=1e-4)
    assert terms.total.item() == pytest.approx(sum(term.item() for term in terms[1:]), rel=1e-5)


def test_without_ignored_objects_the_corner_terms_are_those_of_a_cornernet():
    rng = np.random.default_rng(1)
    targets, stacks = random_targets(rng, [3, 2]), random_stacks(rng, 2)
    targets = targets._replace(
        top_left_weight=torch.ones_like(targets.top_left_weight),
        bottom_right_weight=torch.ones_like(targets.bottom_right_weight),
    )
    terms = saccade_loss(stacks, targets)
    plain = corner_loss([stack.corners for stack in stacks], targets.corners)
    assert torch.equal(torch.stack(terms[1:5]), torch.stack(plain[1:]))


def test_ignored_cells_have_no_gradient():
    rng = np.random.default_rng(2)
    targets, (stack,) = random_targets(rng, [5, 4]), random_stacks(rng, 2, count=1)
    saccade_loss([stack], targets).total.backward()
    gradient = stack.corners.top_left_heatmap.grad
    assert (targets.top_left_weight == 0).any()
    assert not gradient[targets.top_left_weight == 0].any() and gradient[targets.top_left_weight == 1].all()


@pytest.mark.parametrize("objects", [[3, 1, 0, 5], [0, 0, 0, 0]])
@pytest.mark.parametrize("config", [SaccadeLossConfig(), OFFICIAL], ids=["default", "official"])
def test_averaged_gradients_of_two_processes_equal_those_of_one(objects, config):
    rng = np.random.default_rng(3)
    targets, stacks = random_targets(rng, objects), random_stacks(rng, 4)
    tensors = [tensor for stack in stacks for part in stack for tensor in part]
    whole = torch.autograd.grad(saccade_loss(stacks, targets, config=config).total, tensors)

    def part_of(named, part):
        return type(named)(*(part_of(x, part) if isinstance(x, tuple) else x[part] for x in named))

    halves = slice(0, 2), slice(2, 4)
    shares = [part_of(targets, half) for half in halves]
    counts = SaccadeCounts(*map(torch.add, *(count_attended(share, config) for share in shares)))
    total = sum(
        saccade_loss([part_of(stack, half) for stack in stacks], share, config=config, counts=counts, processes=2).total
        for half, share in zip(halves, shares)
    )
    for one, other in zip(torch.autograd.grad(total / 2, tensors), whole):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_an_empty_level_is_not_heard_above_the_others():
    rng = np.random.default_rng(4)
    targets, stacks = random_targets(rng, [0] * 8), random_stacks(rng, 8)
    default, official = (saccade_loss(stacks, targets, config=config).attention for config in (None, OFFICIAL))
    assert default.item() == pytest.approx(official.item() * 2 / 8, rel=1e-5)  # two stacks, eight images
