"""Batches: a function of seed, epoch and step, whatever makes them and wherever one starts."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from cornernet.engine.errors import DatasetError, TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import CocoDataset, Sample, load_coco
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.data.dataset import Batch, CornerDataset, EpochSampler, Key, TrainBatches, collate, train_loader
from cornernet.trainer.data.sampling import CornerSampling
from cornernet.trainer.data.shapes import generate_shapes

CARD = ModelCard(name="test", class_names=("rectangle", "ellipse", "triangle"), category_ids=(1, 2, 3))
PLAIN = AugmentConfig(centre=True, scales=(1.0,), flip=0, colour=0, lighting=0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return load_coco(
        generate_shapes(tmp_path_factory.mktemp("shapes"), train=10, val=0, seed=5, size=(96, 96)), "train"
    )


def make_batches(data, *, report=None, rank=0, world=1, workers=0, **changes):
    settings = {"size": (64, 64), "batch_size": 4, "seed": 1}
    config = SimpleNamespace(**{**settings, "augment": AugmentConfig(), **changes})
    sampling = CornerSampling(CARD, config.size, 4, config.augment)
    return TrainBatches(data, sampling, config, report=report, rank=rank, world=world, workers=workers)


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.images, other.images)
    assert all(torch.equal(left, right) for left, right in zip(one.targets, other.targets))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_change_a_batch(shapes, workers):
    alone, helped = make_batches(shapes), make_batches(shapes, workers=workers)
    for epoch in range(2):
        pairs = list(zip(alone.epoch(epoch), helped.epoch(epoch), strict=True))
        assert len(pairs) == 3
        for one, other in pairs:
            assert_same(one, other)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_resumed_at_any_step(shapes, workers):
    whole = list(make_batches(shapes).epoch(3))
    rest = list(make_batches(shapes, workers=workers).epoch(3, first_step=1))
    assert len(rest) == len(whole) - 1
    for one, other in zip(whole[1:], rest):
        assert_same(one, other)


def test_an_epoch_that_was_left_early_does_not_disturb_the_next(shapes):
    batches = make_batches(shapes, workers=1)
    for _ in batches.epoch(0):
        break
    for one, other in zip(batches.epoch(1), make_batches(shapes).epoch(1), strict=True):
        assert_same(one, other)


def test_the_slices_of_two_processes_make_the_batch_of_one(shapes):
    whole = list(make_batches(shapes).epoch(0))
    halves = [list(make_batches(shapes, rank=rank, world=2).epoch(0)) for rank in range(2)]
    for one, left, right in zip(whole, *halves, strict=True):
        assert torch.equal(one.images, torch.cat([left.images, right.images]))
        for field, first, second in zip(one.targets, left.targets, right.targets):
            assert torch.equal(field, torch.cat([first, second]))


def test_seed_and_epoch_change_the_batches(shapes):
    first = next(iter(make_batches(shapes).epoch(0))).images
    assert not torch.equal(first, next(iter(make_batches(shapes).epoch(1))).images)
    assert not torch.equal(first, next(iter(make_batches(shapes, seed=2).epoch(0))).images)


def test_making_batches_leaves_the_global_random_state_alone(shapes):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(make_batches(shapes).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_shows_every_sample_and_whole_batches_only():
    sampler = EpochSampler(10, 4, seed=0)
    steps = list(sampler)
    assert [len(step) for step in steps] == [4, 4, 4] and len(sampler) == 3
    keys = [key for step in steps for key in step]
    assert {key.sample for key in keys[:10]} == set(range(10))
    assert [key.sample for key in keys[10:]] == [key.sample for key in keys[:2]]
    assert len({key.position for key in keys}) == 12  # a repeated sample is another view of it


def test_a_batch_has_no_more_images_than_there_are_and_says_so(shapes):
    lines = []
    batches = make_batches(shapes, batch_size=100_000, report=lines.append)
    (batch,) = batches.epoch(0)
    assert len(batch.images) == batches.batch_size == 10
    assert lines == ["a batch has 10 images instead of the 100000 asked for: the data set has 10"]
    halves = [make_batches(shapes, batch_size=12, rank=rank, world=4, report=lines.append) for rank in range(4)]
    assert [half.batch_size for half in halves] == [8] * 4 and len(lines) == 2
    with pytest.raises(TrainingError, match="10 images cannot be shared by 11 processes"):
        make_batches(shapes, batch_size=11, world=11)


def test_opencv_gets_its_threads_back(shapes):
    cv2.setNumThreads(2)
    batches = make_batches(shapes, workers=1)
    next(iter(batches.epoch(0)))
    assert cv2.getNumThreads() == 1  # none of its own
    batches.close()
    assert cv2.getNumThreads() == 2
    batches.close()


def test_workers_read_images_themselves(shapes):
    assert make_batches(shapes, workers=1)._loader.dataset.dataset.cache is None


def test_a_batch_that_processes_cannot_share_equally_is_refused():
    with pytest.raises(TrainingError, match="--batch-size 12"):
        EpochSampler(10, 10, seed=0, world=4)


def test_an_item_is_an_image_and_its_targets(shapes):
    dataset = CornerDataset(shapes, CornerSampling(CARD, (64, 96), 4, PLAIN))
    item = dataset[2]
    assert item.images.shape == (3, 64, 96) and item.images.dtype == torch.float32 and item.images.is_contiguous()
    assert item.targets.top_left_heatmap.shape == (3, 16, 24)
    assert item.targets.mask.sum() == len(shapes.samples[2].boxes)
    labels = np.unique(shapes.samples[2].labels)
    assert np.flatnonzero(item.targets.top_left_heatmap.amax(dim=(1, 2))).tolist() == labels.tolist()
    batch = collate([item, item])
    assert batch.images.shape == (2, 3, 64, 96) and batch.targets.mask.shape == (2, 128)
    assert batch.to("cpu", channels_last=True).images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("resize", ["fit", "original"])
def test_keeping_images_in_memory_changes_nothing(shapes, resize):
    sampling = CornerSampling(CARD, (64, 64), 4, AugmentConfig(resize=resize))
    kept, read = (CornerDataset(shapes, sampling, cache_bytes=space) for space in (2**30, 0))
    assert kept.cache is not None and read.cache is None
    for index in range(len(kept)):
        assert_same(kept[Key(1, index, index)], read[Key(1, index, index)])


def test_images_are_kept_no_larger_than_the_augmentation_can_show(tmp_path):
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((600, 800, 3), np.uint8))
    sample = Sample(1, path, 800, 600, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    data = CocoDataset((sample,), CARD.class_names, CARD.category_ids, tmp_path / "x.json")
    fit = CornerDataset(data, CornerSampling(CARD, (64, 64), 4, AugmentConfig(scales=(0.5, 1.0))))
    assert fit.cache[0].shape == (96, 128, 3)  # twice the canvas, seen whole at half the canvas
    original = CornerDataset(data, CornerSampling(CARD, (64, 64), 4, AugmentConfig(resize="original")))
    assert original.cache[0].shape == (600, 800, 3)


def broken(shapes, *, every=False):
    """The data set with unreadable images among the first (or only those)."""
    folder = shapes.annotation_file.parent / "broken"
    folder.mkdir(exist_ok=True)
    (folder / "text.jpg").write_text("not an image")
    whole = shapes.samples[1].path.read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    bad = [SimpleNamespace(**{**vars(s), "path": folder / n}) for s, n in
           zip(shapes.samples, ("text.jpg", "truncated.jpg", "missing.jpg"))]  # fmt: skip
    samples = bad if every else [*bad, *shapes.samples[3:]]
    samples = tuple(Sample(**vars(sample)) for sample in samples)
    return CocoDataset(samples, shapes.class_names, shapes.category_ids, shapes.annotation_file)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_reported_once_and_replaced_always_by_the_same(shapes, workers):
    lines = []
    batches = make_batches(broken(shapes), workers=workers, report=lines.append)
    found = [batch for epoch in (0, 1) for batch in batches.epoch(epoch)]
    assert len(lines) == 3 and len(found) == 6
    for name in ("text.jpg", "truncated.jpg", "missing.jpg"):
        assert sum(name in line and "takes its place" in line for line in lines) == 1
    again = make_batches(broken(shapes), report=lines.append)
    for one, other in zip(found, [batch for epoch in (0, 1) for batch in again.epoch(epoch)], strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_of_unreadable_images_is_the_same_error_wherever_it_is_found(shapes, workers):
    with pytest.raises(DatasetError, match=r"^none of the 3 images can be read\. The first: \S+text\.jpg: [^\n]*$"):
        list(make_batches(broken(shapes, every=True), report=lambda line: None, workers=workers).epoch(0))


def test_an_image_of_another_size_than_annotated_is_not_trained_on(shapes):
    sample = shapes.samples[0]
    turned = Sample(**{**vars(sample), "width": sample.width + 5})
    data = CocoDataset((turned, shapes.samples[1]), shapes.class_names, shapes.category_ids, shapes.annotation_file)
    item = CornerDataset(data, CornerSampling(CARD, (64, 64), 4, PLAIN))[0]
    assert f"its annotation says {sample.width + 5}x{sample.height}" in item.problems[0]
    assert item.targets.mask.sum() == len(shapes.samples[1].boxes)


def test_crowd_regions_are_not_trained_on(shapes):
    sample = shapes.samples[0]
    crowd = Sample(**{**vars(sample), "crowd": np.ones(len(sample.boxes), bool)})
    data = CocoDataset((crowd,), shapes.class_names, shapes.category_ids, shapes.annotation_file)
    item = CornerDataset(data, CornerSampling(CARD, (64, 64), 4, PLAIN))[0]
    assert item.targets.mask.sum() == 0 and item.targets.top_left_heatmap.max() == 0


def test_an_image_with_more_objects_than_rows_is_reported_and_trained_on(shapes):
    sample = shapes.samples[0]
    boxes = np.tile(np.array([[5, 5, 40, 40]], np.float32), (140, 1)) + np.arange(140)[:, None] % 20
    many = Sample(**{**vars(sample), "boxes": boxes, "labels": np.zeros(140, int), "crowd": np.zeros(140, bool)})
    data = CocoDataset((many,), shapes.class_names, shapes.category_ids, shapes.annotation_file)
    lines = []
    (batch,) = make_batches(data, batch_size=1, report=lines.append, augment=PLAIN).epoch(0)
    assert batch.targets.mask.all()
    assert ["140 objects" in line for line in lines] == [True]


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_photographs_with_crowds_and_empty_images_make_batches(shared_data, split):
    data = load_coco(shared_data / "coco_ci16", split)
    card = ModelCard(name="coco", class_names=data.class_names, category_ids=data.category_ids)
    dataset = CornerDataset(data, CornerSampling(card, (128, 128), 4))
    for batch in train_loader(dataset, EpochSampler(len(dataset), 4, seed=0)):
        assert torch.isfinite(batch.images).all() and not batch.problems
        peaks = (batch.targets.top_left_heatmap == 1).sum()
        assert 0 < peaks <= batch.targets.mask.sum()
