"""Batches for the loop: a pure function of (seed, epoch, step), whatever the number of workers or processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cornernet.engine.coco import CocoDataset
from cornernet.engine.errors import DatasetError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.augment import augment
from cornernet.trainer.config import TrainConfig
from cornernet.trainer.presets import NetworkConfig
from cornernet.trainer.targets import CornerTargets, corner_targets

CACHE_BYTES = 2_000_000_000
"""Decoded images are kept in memory while all of them take less than this."""

_log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """images (B, 3, H, W) float32, normalised; targets: CornerTargets with a batch axis."""

    images: Tensor
    targets: CornerTargets

    def to(self, device: torch.device, *, channels_last: bool = False) -> Batch:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images = self.images.to(device, memory_format=layout, non_blocking=True)
        return Batch(images, CornerTargets(*(target.to(device, non_blocking=True) for target in self.targets)))


class CornerDataset(Dataset[tuple[Tensor, CornerTargets]]):
    """Item (epoch, index) -> one augmented view with its targets, drawn from the generator of (seed, epoch, index)."""

    def __init__(self, data: CocoDataset, network: NetworkConfig, card: ModelCard, config: TrainConfig) -> None:
        self.samples, self.config, self.card = data.samples, config, card
        height, width = config.size
        self.map_size = (-(-height // network.stride), -(-width // network.stride))
        order = slice(None, None, -1) if card.channel_order == "rgb" else slice(None)
        self.mean = np.array(card.mean[order], np.float32)
        self.std = np.array(card.std[order], np.float32)
        self.fill = card.fill[order]
        self.swap = card.channel_order == "rgb"
        self.reported: set[Path] = set()
        self.cache: dict[int, np.ndarray] = {}
        if sum(3 * sample.width * sample.height for sample in data.samples) <= CACHE_BYTES:
            # Filled before the workers fork, so that they share it.
            read = {index: self._read(index) for index in range(len(data.samples))}
            self.cache = {index: image for index, image in read.items() if image is not None}
            if not self.cache:
                raise DatasetError(f"{data.annotation_file}: none of its {len(data.samples)} images can be read.")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, CornerTargets]:
        epoch, index = item
        rng = np.random.default_rng((self.config.seed, epoch, index))
        index, image = self._readable(index)
        sample = self.samples[index]
        # Annotations are in pixels of the listed size; the picture may have been shrunk on reading.
        scale = np.array((image.shape[1] / sample.width, image.shape[0] / sample.height) * 2, np.float32)
        single = ~sample.crowd
        view = augment(
            image,
            sample.boxes[single] * scale,
            sample.labels[single],
            rng,
            size=self.config.size,
            config=self.config.augment,
            fill=self.fill,
        )
        targets = corner_targets(
            view.boxes,
            view.labels,
            num_classes=len(self.card.class_names),
            input_size=self.config.size,
            map_size=self.map_size,
            radius=self.config.radius,
        )
        pixels = (view.image - self.mean) / self.std
        if self.swap:
            pixels = pixels[..., ::-1]
        images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return images, CornerTargets(*(torch.as_tensor(target) for target in targets))

    def _readable(self, index: int) -> tuple[int, np.ndarray]:
        """The image, or the next one that can be read: a broken file costs its place in the epoch, not the run."""
        for step in range(len(self.samples)):
            candidate = (index + step) % len(self.samples)
            image = self.cache[candidate] if candidate in self.cache else self._read(candidate)
            if image is not None:
                return candidate, image
        raise DatasetError("none of the training images can be read.")

    def _read(self, index: int) -> np.ndarray | None:
        """(h, w, 3) uint8 BGR, shrunk where even the largest magnification would not show all of its pixels."""
        path = self.samples[index].path
        if path in self.reported:
            return None
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            self.reported.add(path)
            _log.warning("%s: cannot be read as an image; another one takes its place", path)
            return None
        if self.config.augment.resize == "fit":
            fit = min(side / full for side, full in zip(self.config.size, image.shape, strict=False))
            shrink = fit / min(self.config.augment.scales)
            if shrink < 0.75:
                image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        return image


class TrainBatches:
    """The batches of one process. Every process draws the same global batches and takes its own part of each."""

    def __init__(
        self,
        data: CocoDataset,
        network: NetworkConfig,
        card: ModelCard,
        config: TrainConfig,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if config.batch_size % world:
            raise TrainingError(f"batch_size is {config.batch_size}; expected a multiple of the {world} processes.")
        if not all(network.is_legal_side(side) for side in config.size):
            raise TrainingError(
                f"size is {config.size[0]}x{config.size[1]}; {network.name} takes multiples of {network.size_multiple} "
                f"(or up to {network.stride - 1} less)."
            )
        self.dataset = CornerDataset(data, network, card, config)
        self.config, self.rank, self.world = config, rank, world
        self.steps_per_epoch = -(-len(data.samples) // config.batch_size)

    def global_batches(self, epoch: int) -> list[list[int]]:
        """Sample indices of every step of an epoch, over all processes; the last batch is filled up from the first."""
        count, size = len(self.dataset), self.config.batch_size
        order = np.random.default_rng((self.config.seed, epoch)).permutation(count)
        order = np.resize(order, self.steps_per_epoch * size)
        return order.reshape(-1, size).tolist()

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """This process's part of every batch of an epoch, from `first_step` on."""
        mine = [batch[self.rank :: self.world] for batch in self.global_batches(epoch)[first_step:]]
        loader = DataLoader(
            self.dataset,
            batch_sampler=[[(epoch, index) for index in batch] for batch in mine],  # type: ignore[arg-type]
            num_workers=self.config.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
        )
        yield from loader


def collate(items: list[tuple[Tensor, CornerTargets]]) -> Batch:
    """Items -> batch. Ranks take every world-th item, so a global batch is the same whoever computes it."""
    images, targets = zip(*items, strict=True)
    return Batch(torch.stack(images), CornerTargets(*(torch.stack(parts) for parts in zip(*targets, strict=True))))
