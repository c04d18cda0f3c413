"""Which samples make which batch: a function of seed, epoch and step, and of the process's place among the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cornernet.engine.errors import TrainingError


class Key(NamedTuple):
    """Which sample, and which of its views: `position` counts the samples of an epoch in their shuffled order."""

    epoch: int
    position: int
    sample: int


class EpochSampler:
    """Keys of each batch of one process.

    Every epoch is shuffled anew by (seed, epoch). Its last batch is filled up from the epoch's beginning, so that all
    batches are whole. Process r of w takes the r-th of w equal slices of each batch. Set `epoch` and `first_step`
    before iterating. Raises TrainingError if the slices would not be equal.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        if batch_size % world:
            raise TrainingError(
                f"a batch of {batch_size} images cannot be shared equally by {world} processes; "
                f"choose --batch-size {-(-batch_size // world) * world}."
            )
        self.length, self.batch_size, self.seed, self.rank, self.world = length, batch_size, seed, rank, world
        self.epoch = self.first_step = 0

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.length // self.batch_size)

    def __len__(self) -> int:
        return self.steps_per_epoch - self.first_step

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        order = np.resize(order, self.steps_per_epoch * self.batch_size)
        share = self.batch_size // self.world
        for step in range(self.first_step, self.steps_per_epoch):
            start = step * self.batch_size + self.rank * share
            yield [Key(self.epoch, place, int(order[place])) for place in range(start, start + share)]
