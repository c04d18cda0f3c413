"""Corner pooling, Eq. (6) and (7): each cell takes the maximum of itself and every cell on its way to one border.

A corner often lies where the object is not, so the network must look right and down from it (top-left corner), or left
and up (bottom-right corner), for evidence. The pair of running maxima and their sum are one custom operator per
corner: `cornernet::corner_pool_top_left` and `cornernet::corner_pool_bottom_right`, so the exporter can keep them
as single nodes.

A running maximum over n cells takes log2(n) elementwise steps (Hillis & Steele, 1986), each a plain `torch.maximum`:
the same code is fast on CPU and GPU, in any memory format, and bit-exact because outputs are copies of inputs.
NaN propagates along the scan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ROW, _COLUMN = 2, 3


def _with_previous(x: Tensor, dim: int, from_end: bool, step: int) -> tuple[Tensor, Tensor]:
    """Views of the cells that have another one `step` cells earlier in scan order, and of those earlier ones."""
    length = x.shape[dim] - step
    front, back = x.narrow(dim, 0, length), x.narrow(dim, step, length)
    return (front, back) if from_end else (back, front)


def _running_max(x: Tensor, dim: int, from_end: bool) -> Tensor:
    reach = 1
    pooled = x.clone(memory_format=torch.preserve_format)
    while reach < x.shape[dim]:
        wider = pooled.clone(memory_format=torch.preserve_format)
        torch.maximum(*_with_previous(pooled, dim, from_end, reach), out=_with_previous(wider, dim, from_end, reach)[0])
        pooled, reach = wider, 2 * reach
    return pooled


def _running_max_gradient(grad: Tensor, x: Tensor, dim: int, from_end: bool) -> Tensor:
    """The official rule: the first cell met that reaches the running maximum gets the gradient; later equals get none.

    A cell is a record if it exceeds everything before it. Its gradient is the sum over itself and the cells after
    it up to the next record: a segmented sum, by doubling like the forward pass, in float32 at least.
    """
    pooled = _running_max(x, dim, from_end)
    cells, _ = _with_previous(x, dim, from_end, 1)
    _, before = _with_previous(pooled, dim, from_end, 1)
    is_record = torch.ones_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    _with_previous(is_record, dim, from_end, 1)[0].copy_(cells > before)
    total = grad.to(is_record.dtype)
    # linked[i]: 1 if the `reach` cells after cell i all belong to its segment; one entry per cell that has so many.
    linked = 1 - _with_previous(is_record, dim, from_end, 1)[0]
    reach = 1
    while reach < x.shape[dim]:
        wider = total.clone(memory_format=torch.preserve_format)
        later, _ = _with_previous(total, dim, from_end, reach)
        _with_previous(wider, dim, from_end, reach)[1].addcmul_(later, linked)
        if 2 * reach < x.shape[dim]:
            linked = torch.mul(*_with_previous(linked, dim, from_end, reach))
        total, reach = wider, 2 * reach
    return total.mul_(is_record).to(grad.dtype) if reach > 1 else grad.clone()


class _RunningMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, from_end: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.scan = dim, from_end
        return _running_max(x, dim, from_end)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _running_max_gradient(grad, ctx.saved_tensors[0], *ctx.scan), None, None


def top_pool(x: Tensor) -> Tensor:
    """Maximum of each cell and all cells below it (Eq. 6). (N,C,h,w) float -> the same shape and type."""
    return _RunningMax.apply(x, _ROW, True)


def bottom_pool(x: Tensor) -> Tensor:
    """Maximum of each cell and all cells above it. (N,C,h,w) float -> the same shape and type."""
    return _RunningMax.apply(x, _ROW, False)


def left_pool(x: Tensor) -> Tensor:
    """Maximum of each cell and all cells right of it (Eq. 7). (N,C,h,w) float -> the same shape and type."""
    return _RunningMax.apply(x, _COLUMN, True)


def right_pool(x: Tensor) -> Tensor:
    """Maximum of each cell and all cells left of it. (N,C,h,w) float -> the same shape and type."""
    return _RunningMax.apply(x, _COLUMN, False)


def pool_top_left_in_torch(a: Tensor, b: Tensor) -> Tensor:
    """top_pool(a) + left_pool(b). Two (N,C,h,w) maps of one shape and float type -> one like them."""
    return _running_max(a, _ROW, from_end=True).add_(_running_max(b, _COLUMN, from_end=True))


def pool_bottom_right_in_torch(a: Tensor, b: Tensor) -> Tensor:
    """bottom_pool(a) + right_pool(b). Two (N,C,h,w) maps of one shape and float type -> one like them."""
    return _running_max(a, _ROW, from_end=False).add_(_running_max(b, _COLUMN, from_end=False))


corner_pool_top_left = torch.library.custom_op(
    "cornernet::corner_pool_top_left", pool_top_left_in_torch, mutates_args=()
)
corner_pool_bottom_right = torch.library.custom_op(
    "cornernet::corner_pool_bottom_right", pool_bottom_right_in_torch, mutates_args=()
)


@torch.library.custom_op("cornernet::corner_pool_gradient", mutates_args=())
def corner_pool_gradient(grad: Tensor, a: Tensor, b: Tensor, from_end: bool) -> tuple[Tensor, Tensor]:
    """Gradients of both inputs of a corner pooling; `from_end` is True for the top-left corner."""
    return _running_max_gradient(grad, a, _ROW, from_end), _running_max_gradient(grad, b, _COLUMN, from_end)


@corner_pool_top_left.register_fake
@corner_pool_bottom_right.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    torch._check(a.shape == b.shape, lambda: f"corner pooling needs two maps of one shape; got {a.shape} and {b.shape}")
    return torch.empty_like(a)


@corner_pool_gradient.register_fake
def _(grad: Tensor, a: Tensor, b: Tensor, from_end: bool) -> tuple[Tensor, Tensor]:
    return torch.empty_like(grad), torch.empty_like(grad)


def _remember_inputs(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    # Both are outputs of a ReLU, which keeps them for its own gradient: no extra memory.
    ctx.save_for_backward(*inputs)


def _top_left_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return corner_pool_gradient(grad, *ctx.saved_tensors, True)


def _bottom_right_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return corner_pool_gradient(grad, *ctx.saved_tensors, False)


corner_pool_top_left.register_autograd(_top_left_backward, setup_context=_remember_inputs)
corner_pool_bottom_right.register_autograd(_bottom_right_backward, setup_context=_remember_inputs)
