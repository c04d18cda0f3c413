"""Batch norm folded into the convolution before it: the same numbers at inference with one operator less."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """A copy of `module` in eval mode without the batch norms that directly follow a convolution, or a concatenation
    of convolutions (fire modules).

    A module that cannot be traced symbolically (foreign backbones with control flow) keeps its batch norms: they are
    affine at inference, so results are the same and the runtimes fold them when they load the file.
    """
    module = copy.deepcopy(module).eval()
    try:
        traced = fx.symbolic_trace(module)
    except (fx.proxy.TraceError, TypeError):
        return module
    layers = dict(traced.named_modules())
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or type(layers[node.target]) is not nn.BatchNorm2d:
            continue
        convolutions = _feeding_convolutions(node.args[0], layers, calls)
        if convolutions:
            _fold(layers[node.target], convolutions)
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _feeding_convolutions(source: fx.Node, layers: dict[str, nn.Module], calls: Counter[object]) -> list[nn.Conv2d]:
    """The convolutions whose channels, one after the other, are all that a batch norm reads; [] if it reads others."""
    nodes = [source]
    if source.op == "call_function" and source.target is torch.cat and source.kwargs.get("dim") == 1:
        nodes += source.args[0]  # type: ignore[arg-type]
        producers = nodes[1:]
    else:
        producers = nodes
    found = [layers.get(str(node.target)) for node in producers if node.op == "call_module"]
    seen_once = all(len(node.users) == 1 for node in nodes) and all(calls[node.target] == 1 for node in producers)
    convolutions = [layer for layer in found if type(layer) is nn.Conv2d]
    return convolutions if seen_once and len(convolutions) == len(producers) else []


def _fold(norm: nn.BatchNorm2d, convolutions: list[nn.Conv2d]) -> None:
    sizes = [conv.out_channels for conv in convolutions]
    statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    parts = zip(*(_split(values, sizes) for values in statistics))
    for conv, (mean, var, weight, bias) in zip(convolutions, parts):
        conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, weight, bias)


def _split(values: Tensor | None, sizes: list[int]) -> list[Tensor | None]:
    return [None] * len(sizes) if values is None else list(values.split(sizes))
