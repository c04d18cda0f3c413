"""What a network costs: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import NetworkConfig


class ParameterCount(NamedTuple):
    """total: all parameters. inference: without the heads and corner modules that only training uses."""

    total: int
    inference: int


def count_parameters(network: Any) -> ParameterCount:
    """Trainable parameters; batch norm statistics are not counted, as in the literature."""
    total = _numel(network)
    training_only = sum(_numel(part) for part in network.training_only)
    return ParameterCount(total, total - training_only)


def count_macs(
    config: NetworkConfig, height: int, width: int, build: Callable[[NetworkConfig], Any] = CornerNet
) -> int:
    """Multiply-accumulates of all convolutions for one image of `height` x `width` [px], at inference.

    Runs on the meta device: shapes only, no memory, milliseconds. Raises ImageError if the size is not legal.
    """
    macs = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        # A transposed convolution applies its kernel once per input cell, a convolution once per output cell.
        cells = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        per_cell = module.in_channels * module.out_channels // module.groups * math.prod(module.kernel_size)
        macs += per_cell * math.prod(cells.shape[-2:])

    with torch.device("meta"), torch.no_grad():
        network = build(config).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.register_forward_hook(add)
        network.last_stack(torch.empty(1, 3, height, width))
    return macs


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
