"""One process or many: `torchrun --nproc-per-node N -m cornernet train ...` sets the environment read here."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

# Its functions have the group of all processes, as it is at import, for a default value, for ever. torch imports it for
# DistributedDataParallel; imported here, before there is a group, it keeps none alive (see `leave_ranks`).
import torch.distributed.nn.functional

from cornernet.engine.errors import TrainingError

# Of NCCL 10 minutes, of gloo 30: too short to wait for a validation, a large file, or the reading of many pictures.
_PATIENCE = timedelta(days=365)
_patient: list[dist.ProcessGroup] = []
"""A group of all processes, on the CPU, in which they wait for each other without limit; empty if there is only one."""


@dataclass(frozen=True)
class Ranks:
    """Which of `world` processes this one is, how many of them are on this machine, and the device it trains on."""

    rank: int
    world: int
    device: torch.device
    here: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def on_main(self, work: Callable[[], float | None]) -> float:
        """Do `work` in process 0 while the others wait, however long it takes; its number (None: 0) goes to all.

        If it fails, it fails in all of them: TrainingError in the others.
        """
        value, error = 0.0, None
        if self.is_main:
            try:
                value = work() or 0.0
            except BaseException as failure:
                error = failure
        for group in _patient:
            message = torch.tensor([float(error is not None), value], dtype=torch.float64)
            dist.broadcast(message, src=0, group=group)
            if not self.is_main and message[0]:
                raise TrainingError("process 0 of this training failed; its own message says why.")
            value = float(message[1])
        if error is not None:
            raise error
        return value


def is_main_process() -> bool:
    """Whether this process, of those that torchrun started, is the one that speaks to people."""
    return os.environ.get("RANK", "0") == "0"


def join_ranks(device: str | None = None) -> Ranks:
    """Join the group that torchrun started, or stand alone. Device: as asked, else this rank's GPU, else the CPU."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = _chosen_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    if world > 1 and not _patient:
        _patient.append(dist.new_group(backend="gloo", timeout=_PATIENCE))
    return Ranks(rank, world, chosen, here=int(os.environ.get("LOCAL_WORLD_SIZE", world)))


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
    """Leave the group, and end its threads. A model that is wrapped for several processes must be let go before.

    The threads of a gloo group live as long as anything refers to it, such as a wrapped model. One that drops its last
    tensor while the interpreter ends is killed by that in the middle of C++ code, and with it the whole process:
    "terminate called without an active exception".
    """
    if dist.is_initialized():
        _patient.clear()
        gc.collect()  # wrapped models are parts of cycles
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
