"""One optimiser step: a batch through the network, the loss, its gradients, new weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from cornernet.trainer.data.dataset import Batch
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.distributed import Ranks, sum_over_ranks
from cornernet.trainer.loop.method import Method
from cornernet.trainer.loop.state import TrainState
from cornernet.trainer.network.corner_net import CornerNet


def wrap(network: CornerNet, config: TrainConfig, ranks: Ranks) -> nn.Module:
    """What the forward pass runs through; the state keeps the bare network."""
    model: nn.Module = network
    if ranks.world > 1:
        ids = [ranks.device.index] if ranks.device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(model, device_ids=ids)
    return torch.compile(model) if config.compile else model  # type: ignore[return-value]


def optimise(model: nn.Module, state: TrainState, batch: Batch, ranks: Ranks, rate: float, method: Method) -> Any:
    """Forward, backward, update at learning rate `rate`: `state` is one step further afterwards. Returns the terms of
    the method's loss.

    model: the state's network, as `wrap` gave it.
    """
    config = state.config
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    batch = batch.to(ranks.device, channels_last=config.channels_last)
    model.train()
    if config.freeze_batch_norm:
        _freeze_batch_norm(model)
    with _autocast(config, ranks.device):
        stacks = model(batch.images)
    own = method.count(batch.targets)
    counts = type(own)(*sum_over_ranks(torch.stack(own)).unbind())
    terms = method.loss(stacks, batch.targets, counts=counts, processes=ranks.world)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(terms.total).backward()
    if config.gradient_clip is not None:
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.network.parameters(), config.gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.averaged is not None:
        state.averaged.update_parameters(state.network)
    state.step += 1
    return terms


def _freeze_batch_norm(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    if config.precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if config.precision == "bf16" else torch.float16
    return torch.autocast(device.type, kind)
