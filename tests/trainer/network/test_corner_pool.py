"""Corner pooling against the official code's numbers and against plain loops."""

from itertools import pairwise

import numpy as np
import oracles
import oracles_network
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.trainer.network import corner_pool
from cornernet.trainer.network.corner_pool import corner_pool_bottom_right, corner_pool_top_left

POOLS = {
    "top": corner_pool.top_pool,
    "bottom": corner_pool.bottom_pool,
    "left": corner_pool.left_pool,
    "right": corner_pool.right_pool,
}
CORNERS = {
    "top_left": (corner_pool_top_left, "top", "left"),
    "bottom_right": (corner_pool_bottom_right, "bottom", "right"),
}
FORMATS = [torch.contiguous_format, torch.channels_last]


def cases(path):
    data = np.load(path)
    return data, [key.removesuffix(".x") for key in data.files if key.endswith(".x")]


@pytest.mark.parametrize("direction", POOLS)
def test_each_direction_gives_the_official_maxima_bit_for_bit(golden, direction):
    data, names = cases(golden / "a_corner_pool" / "corner_pool_forward.npz")
    assert len(names) == 44
    for name in names:
        pooled = POOLS[direction](torch.from_numpy(data[f"{name}.x"]))
        np.testing.assert_array_equal(pooled.numpy(), data[f"{name}.{direction}"], err_msg=name)


@pytest.mark.parametrize("direction", POOLS)
def test_the_first_of_equal_maxima_gets_the_gradient_as_in_the_official_code(golden, direction):
    data, names = cases(golden / "a_corner_pool" / "corner_pool_backward.npz")
    assert any("ties" in name for name in names)
    for name in names:
        x = torch.from_numpy(data[f"{name}.x"]).requires_grad_()
        POOLS[direction](x).backward(torch.from_numpy(data[f"{name}.grad_out"]))
        assert x.grad is not None
        expected = data[f"{name}.{direction}.grad_official"]
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("corner", CORNERS)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 19), st.integers(1, 19)),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_corner_pools_and_back_propagates_like_the_oracle_at_any_size(corner, memory_format, shape, seed):
    operator, vertical, horizontal = CORNERS[corner]
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (2, *shape)).astype(np.float32)
    grad = rng.normal(size=shape).astype(np.float32)
    inputs = [torch.from_numpy(x).to(memory_format=memory_format).requires_grad_() for x in (a, b)]
    output = operator(*inputs)
    np.testing.assert_array_equal(output.detach().numpy(), oracles.corner_pool(a, b, corner))
    output.backward(torch.from_numpy(grad))
    for x, values, direction in zip(inputs, (a, b), (vertical, horizontal)):
        expected = oracles_network.corner_pool_gradient(grad, values, direction)
        np.testing.assert_allclose(x.grad.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("corner", CORNERS)
def test_gradients_agree_with_finite_differences_in_float64(corner):
    torch.manual_seed(0)
    a, b = (torch.randn(1, 2, 5, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(CORNERS[corner][0], (a, b))


@pytest.mark.parametrize("corner", CORNERS)
def test_the_operator_obeys_the_rules_for_custom_operators(corner):
    a, b = (torch.rand(1, 2, 6, 5, requires_grad=True) for _ in range(2))
    verdicts = torch.library.opcheck(CORNERS[corner][0], (a, b))
    assert set(verdicts.values()) == {"SUCCESS"}


@pytest.mark.parametrize("corner", CORNERS)
def test_the_operator_is_registered_under_the_name_the_exporter_maps(corner):
    operator = getattr(torch.ops.cornernet, f"corner_pool_{corner}").default
    assert str(operator._schema) == f"cornernet::corner_pool_{corner}(Tensor a, Tensor b) -> Tensor"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maxima_are_exact_and_long_gradient_sums_do_not_stall(dtype):
    # 300 ones added one by one in bfloat16 stop at 256; the sum must be made in float32.
    x = torch.zeros(1, 1, 1, 300, dtype=dtype)
    x[..., 0] = 1
    x.requires_grad_()
    pooled = corner_pool.right_pool(x)
    assert pooled.dtype == dtype and bool((pooled == 1).all())
    pooled.backward(torch.ones_like(pooled))
    assert x.grad is not None
    assert float(x.grad[..., 0]) == 300


def test_pooling_works_on_the_outputs_of_autocast():
    convolution = torch.nn.Conv2d(3, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        feature = convolution(torch.rand(1, 3, 9, 9))
        pooled = corner_pool_top_left(feature, feature)
    assert pooled.dtype == torch.bfloat16
    pooled.float().sum().backward()
    assert convolution.weight.grad is not None and bool(convolution.weight.grad.abs().sum() > 0)


def test_maxima_only_grow_towards_the_far_border():
    x = torch.randn(2, 3, 8, 8)
    rows = corner_pool.top_pool(x).unbind(2)
    assert all(bool((above >= below).all()) for above, below in pairwise(rows))


@pytest.mark.parametrize("corner", CORNERS)
def test_a_nan_reaches_everything_that_looks_towards_it_and_nothing_else(corner):
    a, b = np.random.default_rng(0).normal(size=(2, 1, 2, 9, 13)).astype(np.float32)
    a[0, 0, 4, 6] = b[0, 1, 2, 12] = b[0, 0, 8, 0] = np.nan
    pooled = CORNERS[corner][0](torch.from_numpy(a), torch.from_numpy(b))
    expected = oracles.corner_pool(a, b, corner)
    assert 0 < np.isnan(expected).sum() < expected.size / 2
    np.testing.assert_array_equal(pooled.numpy(), expected)
