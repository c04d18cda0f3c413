"""Samples into batches.

A batch is a pure function of (seed, epoch, step): not of the number of workers or processes, nor of an interruption.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, default_convert

from cornernet.engine.errors import CornerNetError, DatasetError, ImageError, TrainingError
from cornernet.engine.reading.images import read_image
from cornernet.engine.reading.preprocess import resize
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.trainer.data.sampler import EpochSampler, Key
from cornernet.trainer.data.sampling import Sampling
from cornernet.trainer.data.targets import MAX_OBJECTS
from cornernet.trainer.data.workers import AHEAD, begin_worker, end_workers, received, start_context

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from cornernet.trainer.loop.config import TrainConfig

CACHE_BYTES = 2**30
"""Decoded images are kept in memory if the whole data set needs less than this: decoding would bind a small network."""


class Batch(NamedTuple):
    """images (N, 3, H, W) float32 normalised; targets as tensors with a leading batch axis, a NamedTuple of them or of
    such; problems: report lines."""

    images: Tensor
    targets: Any
    problems: tuple[str, ...] = ()

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """The same on a device; the copy runs beside the host if the memory is pinned."""
        layout = torch.channels_last if channels_last else torch.preserve_format
        images = self.images.to(device, non_blocking=True, memory_format=layout)
        return Batch(images, _moved(self.targets, device), self.problems)


def _moved(targets: Any, device: torch.device | str) -> Any:
    if isinstance(targets, tuple):
        return type(targets)(*(_moved(part, device) for part in targets))
    return targets.to(device, non_blocking=True)


class CornerDataset(Dataset[Batch]):
    """Sample -> what `sampling` makes of it, as a Batch without the batch axis.

    `dataset[key]` with a Key draws from default_rng((seed, epoch, position)); a plain index counts in epoch 0.
    Crowd regions are not trained on. A sample whose image cannot be read is replaced by the next one that can, with a
    report line in `problems`; DatasetError if there is none.

    cache_bytes: decoded images are kept in memory if all of them together need less.
    """

    def __init__(
        self,
        data: CocoDataset,
        sampling: Sampling,
        *,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.samples, self.sampling, self.seed = data.samples, sampling, seed
        self.cache: list[np.ndarray | str] | None = None
        if sum(3 * height * width for height, width in map(self._stored_size, self.samples)) <= cache_bytes:
            with ThreadPoolExecutor(4) as threads:
                self.cache = list(threads.map(self._read, self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def crowded(self) -> list[str]:
        """A report line for each image with more objects than the targets have rows."""
        return [
            f"{sample.path.name}: {count} objects; embedding and offset are learnt for the {MAX_OBJECTS} largest"
            for sample in self.samples
            if (count := int((~sample.crowd).sum())) > MAX_OBJECTS
        ]

    def __getitem__(self, key: int | Key) -> Batch:
        key = key if isinstance(key, Key) else Key(0, key, key)
        sample, stored, problems = self._readable(key.sample)
        rng = np.random.default_rng((self.seed, key.epoch, key.position))
        zoom = np.array([stored.shape[1] / sample.width, stored.shape[0] / sample.height] * 2)
        objects = ~sample.crowd
        image, targets = self.sampling(stored, sample.boxes[objects] * zoom, sample.labels[objects], rng)
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return Batch(planes, default_convert(targets), problems)

    def _readable(self, index: int) -> tuple[Sample, np.ndarray, tuple[str, ...]]:
        problems: list[str] = []
        for step in range(len(self)):
            at = (index + step) % len(self)
            stored = self.cache[at] if self.cache is not None else self._read(self.samples[at])
            if not isinstance(stored, str):
                return self.samples[at], stored, tuple(problems)
            problems.append(stored)
        raise DatasetError(f"none of the {len(self)} images can be read. The first: {problems[0]}")

    def _read(self, sample: Sample) -> np.ndarray | str:
        """The image, shrunk to what the augmentation can show of it; or why it cannot be used."""
        try:
            image = read_image(sample.path)
        except ImageError as error:
            return f"{error}; another image takes its place"
        if (wrong := sample.wrong_size(*image.shape[:2])) is not None:
            return f"{wrong}; another image takes its place"
        return resize(image, self._stored_size(sample), antialias=True)

    def _stored_size(self, sample: Sample) -> tuple[int, int]:
        return self.sampling.stored_size((sample.height, sample.width))


class TrainBatches:
    """The batches of a training run, for one of its processes. Report lines go to `report`, each once.

    A batch has no more images than there are: `batch_size`, over all processes, is at most their number. `workers`
    processes make them (0: this one), which end with `close`; until then OpenCV has no threads of its own in this
    process. Raises TrainingError if processes cannot share a batch equally.
    """

    def __init__(
        self,
        data: CocoDataset,
        sampling: Sampling,
        config: TrainConfig,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._report = report if report is not None else _log.warning
        self._reported: set[str] = set()
        self.batch_size = config.batch_size
        if config.batch_size > len(data):
            self.batch_size = len(data) // world * world
            if self.batch_size == 0:
                raise TrainingError(f"{len(data)} images cannot be shared by {world} processes; start fewer of them.")
            if rank == 0:
                asked = f"{self.batch_size} images instead of the {config.batch_size} asked for"
                self._tell([f"a batch has {asked}: the data set has {len(data)}"])
        self._sampler = EpochSampler(len(data), self.batch_size, seed=config.seed, rank=rank, world=world)
        self._opencv_threads: int | None = cv2.getNumThreads()
        cv2.setNumThreads(0)
        dataset = CornerDataset(
            data,
            sampling,
            seed=config.seed,
            cache_bytes=0 if workers else CACHE_BYTES,  # workers read images themselves: none is sent a gigabyte
        )
        if rank == 0:
            self._tell(dataset.crowded())
        self._loader: DataLoader | None = train_loader(dataset, self._sampler, workers=workers)

    @property
    def steps_per_epoch(self) -> int:
        return self._sampler.steps_per_epoch

    def close(self) -> None:
        """End the workers, and give OpenCV its threads back: later work in this process wants them."""
        if self._loader is not None:
            end_workers(self._loader)
            self._loader = None
        if self._opencv_threads is not None:
            cv2.setNumThreads(self._opencv_threads)
            self._opencv_threads = None

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `first_step` on. Raises DatasetError if there is no image that can be read."""
        assert self._loader is not None, "closed"
        self._sampler.epoch, self._sampler.first_step = epoch, first_step
        for batch in received(self._loader):
            if isinstance(batch, CornerNetError):
                raise batch
            self._tell(batch.problems)
            yield batch

    def _tell(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line not in self._reported:
                self._reported.add(line)
                self._report(line)


class _Shares(Dataset["Batch | CornerNetError"]):
    """The keys of a batch -> the Batch, or its error: raised in a worker it would arrive as a traceback's text."""

    def __init__(self, dataset: CornerDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: Sequence[Key]) -> Batch | CornerNetError:
        try:
            return collate([self.dataset[key] for key in keys])
        except CornerNetError as error:
            return error


def train_loader(dataset: CornerDataset, sampler: EpochSampler, *, workers: int = 0) -> DataLoader:
    """Batches, or errors, in the sampler's order, made by `workers` processes (0: by this one) until `end_workers`."""
    return DataLoader(
        _Shares(dataset),
        batch_size=None,
        sampler=sampler,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context=start_context(__name__) if workers else None,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=begin_worker,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the loader's own: a resumed run finds the global one as it was
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def collate(items: Sequence[Batch]) -> Batch:
    """Items of CornerDataset -> a Batch."""
    images, targets, problems = zip(*items)
    return Batch(
        torch.stack(images), default_collate(list(targets)), tuple(line for lines in problems for line in lines)
    )
