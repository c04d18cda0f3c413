"""One process or many: `torchrun --nproc-per-node N -m cornernet train ...` sets the environment read here."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from cornernet.engine.errors import TrainingError


@dataclass(frozen=True)
class Ranks:
    """Which of `world` processes this one is, and the device it trains on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def join_ranks(device: str | None = None) -> Ranks:
    """Join the group that torchrun started, or stand alone. Device: as asked, else this rank's GPU, else the CPU."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = _chosen_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Ranks(rank, world, chosen)


def _chosen_device(asked: str | None, local_rank: int) -> torch.device:
    """The device of this process. "cuda" without a number is this rank's GPU: torch takes no bare one as current.

    Raises TrainingError if there is no such device here.
    """
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if asked is None:
        asked = "cuda" if gpus else "cpu"
    name = f"cuda:{local_rank}" if asked == "cuda" else asked
    there = ["cpu", *gpus]
    if name not in there:
        raise TrainingError(f"there is no device '{name}' to train on; this machine has {', '.join(there)}.")
    return torch.device(name)


def leave_ranks() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def sum_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """Sum of `value` over all processes, without gradient; the value itself when there is only one."""
    total = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def any_rank(flag: bool, device: torch.device) -> bool:
    """True on every process if `flag` is true on one: all must leave a loop in the same step."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())
