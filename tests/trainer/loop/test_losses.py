"""Losses: the official code's values and gradients, and the equations in plain loops."""

import numpy as np
import oracles_training as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.data.targets import CornerTargets, corner_targets
from cornernet.trainer.loop.losses import LossTerms, ObjectCounts, corner_loss, count_objects, pull_push_loss
from cornernet.trainer.network.corner_net import Heads

HEAD_NAMES = ("tl_heat", "br_heat", "tl_tagmap", "br_tagmap", "tl_regrmap", "br_regrmap")
TARGET_NAMES = ("gt_tl_heat", "gt_br_heat", "gt_tl_regr", "gt_br_regr", "tl_tag_ind", "br_tag_ind")
GOLDEN_FILES = ("tiny_b2_objs3_1", "tiny_b2_objs2_0", "tiny_b2_objs0_0", "tiny_b2_objs20_5", "b4_c10_64x64_2stacks")


def random_heads(rng, images, classes, height, width, *, dtype=torch.float32):
    shapes = [(images, classes)] * 2 + [(images, 1)] * 2 + [(images, 2)] * 2
    return Heads(*(torch.tensor(rng.normal(size=(*shape, height, width)), dtype=dtype) for shape in shapes))


def random_targets(rng, objects, classes=3, height=12, width=16):
    """Targets of a batch with `objects[i]` boxes in image i."""
    built = []
    for count in objects:
        corners = np.sort(rng.uniform(0, [4 * width, 4 * height], (count, 2, 2)), axis=1)
        labels = rng.integers(classes, size=count)
        built.append(
            corner_targets(
                corners.reshape(-1, 4),
                labels,
                num_classes=classes,
                input_size=(4 * height, 4 * width),
                map_size=(height, width),
                max_objects=16,
            )
        )
    return CornerTargets(*(torch.from_numpy(np.stack(column)) for column in zip(*built)))


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_losses_and_gradients_equal_the_official_ones(golden, name):
    file = golden / "d_losses" / f"loss_{name}.npz"
    if not file.is_file():
        pytest.skip(f"needs ../shared/golden/d_losses/{file.name}, which is not there")
    data = np.load(file)
    stacks = [Heads(*(torch.tensor(data[f"s{s}.{head}"], requires_grad=True) for head in HEAD_NAMES)) for s in (0, 1)]
    targets = CornerTargets(*(torch.tensor(data[key]) for key in TARGET_NAMES), torch.tensor(data["tag_mask"]).bool())
    terms = corner_loss(stacks, targets)
    terms.total.backward()

    def mean(*names, weight=1.0):
        return weight * sum(float(data[f"s{s}.{term}"]) for s in (0, 1) for term in names) / 2

    assert terms.total.item() == pytest.approx(float(data["total_loss"][0]), rel=1e-4)
    assert terms.focal.item() == pytest.approx(mean("focal_tl", "focal_br"), rel=1e-4)
    assert terms.pull.item() == pytest.approx(mean("pull_unweighted", weight=0.1), rel=1e-4)
    assert terms.push.item() == pytest.approx(mean("push_unweighted", weight=0.1), rel=1e-4)
    assert terms.offset.item() == pytest.approx(mean("regr_tl", "regr_br"), rel=1e-4)
    for s, heads in enumerate(stacks):
        for head, tensor in zip(HEAD_NAMES, heads):
            expected = data[f"grad.s{s}.{head}"]
            np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-4, atol=1e-7 + 1e-5 * abs(expected).max())


@settings(max_examples=25, deadline=None)
@given(
    objects=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    stacks=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_losses_equal_the_equations_in_plain_loops(objects, stacks, seed):
    rng = np.random.default_rng(seed)
    targets = random_targets(rng, objects, height=6, width=8)
    heads = [random_heads(rng, len(objects), 3, 6, 8) for _ in range(stacks)]
    weights = {"pull_weight": 0.3, "push_weight": 0.7, "offset_weight": 2.0}
    expected = oracles.corner_loss(
        [[head.double().numpy() for head in stack] for stack in heads], [field.numpy() for field in targets], **weights
    )
    terms = corner_loss(heads, targets, **weights)
    assert terms.total.item() == pytest.approx(expected, rel=2e-3)  # the push constant of one object: float32
    assert terms.total.item() == pytest.approx(sum(term.item() for term in terms[1:]), rel=1e-5)


def test_push_moves_apart_and_pull_moves_together():
    top_left = torch.tensor([[0.0, 0.1]], requires_grad=True)
    bottom_right = torch.tensor([[0.2, 0.4]], requires_grad=True)
    mask = torch.tensor([[True, True]])
    pull, push = pull_push_loss(top_left, bottom_right, mask)
    assert 0 < push < 1
    (pulled,) = torch.autograd.grad(pull, top_left, retain_graph=True)
    assert (pulled < 0).all()  # a step down the gradient raises the top-left value towards the bottom-right one
    (pushed,) = torch.autograd.grad(push, top_left)
    assert pushed[0, 0] > 0 > pushed[0, 1]


def test_one_object_gives_the_constant_push_without_gradient():
    embedding = torch.tensor([[0.3]], requires_grad=True)
    pull, push = pull_push_loss(embedding, embedding, torch.tensor([[True]]))
    assert push.item() == pytest.approx(0.9999, rel=1e-3)
    (gradient,) = torch.autograd.grad(push, embedding)
    assert gradient.item() == 0 and pull.item() == 0


def test_rows_beyond_the_mask_do_not_count():
    rng = np.random.default_rng(3)
    targets = random_targets(rng, [3, 1])
    heads = [random_heads(rng, 2, 3, 12, 16)]
    garbage = targets._replace(
        top_left_cell=torch.where(targets.mask, targets.top_left_cell, 77),
        top_left_offset=torch.where(targets.mask[..., None], targets.top_left_offset, 5.0),
    )
    assert torch.equal(corner_loss(heads, garbage).total, corner_loss(heads, targets).total)


@pytest.mark.parametrize("value", [1e4, -1e4, float("inf"), float("-inf")])
def test_extreme_logits_give_finite_losses_and_gradients(value):
    rng = np.random.default_rng(4)
    heads = random_heads(rng, 1, 3, 12, 16)
    logits = torch.full_like(heads.top_left_heatmap, value).requires_grad_()
    terms = corner_loss([heads._replace(top_left_heatmap=logits)], random_targets(rng, [2]))
    terms.total.backward()
    assert torch.isfinite(torch.stack(terms)).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32_whatever_the_heads_and_the_autocast(dtype):
    rng = np.random.default_rng(5)
    targets = random_targets(rng, [2, 4])
    heads = random_heads(rng, 2, 3, 12, 16, dtype=dtype)
    exact = corner_loss([Heads(*(head.float() for head in heads))], targets)
    with torch.autocast("cpu", torch.bfloat16):
        terms = corner_loss([heads], targets)
    assert all(term.dtype == torch.float32 for term in terms)
    assert torch.equal(torch.stack(terms), torch.stack(exact))


@pytest.mark.parametrize("objects", [[0], [1], [5], [0, 0]])
def test_small_and_empty_batches_have_a_loss(objects):
    rng = np.random.default_rng(6)
    terms = corner_loss([random_heads(rng, len(objects), 3, 12, 16)], random_targets(rng, objects))
    assert isinstance(terms, LossTerms)
    assert torch.isfinite(torch.stack(terms)).all()


@pytest.mark.parametrize("objects", [[3, 1, 0, 5], [0, 0, 2, 0], [0, 0, 0, 0]])
def test_averaged_gradients_of_two_processes_equal_those_of_one(objects):
    rng = np.random.default_rng(7)
    targets = random_targets(rng, objects)
    heads = Heads(*(head.requires_grad_() for head in random_heads(rng, 4, 3, 12, 16)))
    whole = corner_loss([heads], targets)
    whole_gradients = torch.autograd.grad(whole.total, heads)
    halves = [CornerTargets(*(field[part] for field in targets)) for part in (slice(0, 2), slice(2, 4))]
    counts = ObjectCounts(*map(torch.add, *map(count_objects, halves)))
    shares = [
        corner_loss([Heads(*(head[part] for head in heads))], half, counts=counts, processes=2)
        for part, half in zip((slice(0, 2), slice(2, 4)), halves)
    ]
    average = sum(share.total for share in shares) / 2
    assert average.item() == pytest.approx(whole.total.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(average, heads), whole_gradients):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)


def test_no_value_is_read_back_from_the_device():
    heads = Heads(*(head.to("meta") for head in random_heads(np.random.default_rng(8), 2, 3, 12, 16)))
    targets = CornerTargets(*(field.to("meta") for field in random_targets(np.random.default_rng(8), [1, 2])))
    with torch.no_grad():
        heads_terms = corner_loss([heads], targets)
    assert heads_terms.total.shape == ()
