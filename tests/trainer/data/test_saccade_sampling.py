"""Samples of a CornerNet-Saccade: the crop's pixels under its boxes, and batches of nested targets."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cornernet.engine.model_card import ModelCard, Saccade
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.data.crop import CropConfig
from cornernet.trainer.data.dataset import CornerDataset, Key, TrainBatches
from cornernet.trainer.data.saccade_sampling import SaccadeSampling
from cornernet.trainer.data.shapes import generate_shapes

CARD = ModelCard(
    name="test",
    class_names=("a", "b", "c"),
    category_ids=(1, 2, 3),
    mean=(0, 0, 0),
    std=(1, 1, 1),
    size_multiple=32,
    train_size=(127, 127),
    saccade=Saccade(view_sizes=(96, 127), reference_bounds=(48, 16), reference_sizes=(96, 32, 12)),
)
COLOURLESS = AugmentConfig(colour=0, lighting=0)


def every_tensor(targets):
    return [tensor for part in targets for tensor in (every_tensor(part) if isinstance(part, tuple) else [part])]


@pytest.mark.parametrize("window", ["whole", "official"])
@pytest.mark.parametrize("flip", [0, 1])
def test_the_object_lies_under_its_box(window, flip):
    """White rectangles on black: the canvas is white inside the boxes that the targets were made of, and only there."""
    sampling = SaccadeSampling(
        CARD, 127, 4, CropConfig(window=window, views=0), COLOURLESS.model_copy(update={"flip": flip})
    )
    boxes = np.array([[20.0, 30, 60, 110], [200, 150, 208, 156], [100, 20, 300, 130]])
    image = np.zeros((240, 320, 3), np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 255
    for seed in range(20):
        example = sampling(image, boxes, np.array([0, 1, 2]), np.random.default_rng(seed))
        assert example.image.shape == (127, 127, 3) and example.image.dtype == np.float32
        corners = example.targets.corners
        for row in np.flatnonzero(corners.mask):
            top, left = np.divmod(corners.top_left_cell[row], 32)
            bottom, right = np.divmod(corners.bottom_right_cell[row], 32)
            x1, y1 = (np.array([left, top]) + corners.top_left_offset[row]) * 127 / 32
            x2, y2 = (np.array([right, bottom]) + corners.bottom_right_offset[row]) * 127 / 32
            inner = example.image[round(y1 + 3) : round(y2 - 3), round(x1 + 3) : round(x2 - 3)]
            assert inner.size and inner.min() > 0.99
            for x in (round(x1) - 3, round(x2) + 2):
                if 0 <= x < 126:
                    assert example.image[round((y1 + y2) / 2), x].max() < 0.01
        if window == "official":
            assert not example.image[126].any() and not example.image[:, 0 if flip else 126].any()


def test_an_ignored_object_is_attended_to_and_has_no_corners():
    sampling = SaccadeSampling(CARD, 127, 4, CropConfig(views=1), COLOURLESS)
    boxes = np.array([[10.0, 10, 20, 20]])  # 10 px of 508 are 2.5 of 127
    example = sampling(np.zeros((508, 508, 3), np.uint8), boxes, np.array([1]), np.random.default_rng(0))
    assert example.targets.attention.small.sum() == 1 and not example.targets.corners.mask.any()
    assert (example.targets.top_left_weight == 0).sum() == (example.targets.top_left_weight[1] == 0).sum() > 0


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = generate_shapes(tmp_path_factory.mktemp("shapes"), train=6, val=0, seed=5, size=(96, 96))
    return load_coco(folder, "train")


def test_the_same_random_numbers_give_the_same_sample_wherever_it_is_made(shapes):
    sampling = SaccadeSampling(CARD, 127, 4)
    config = SimpleNamespace(batch_size=3, seed=1, workers=0)
    alone, helped = TrainBatches(shapes, sampling, config), None
    helped = TrainBatches(shapes, sampling, SimpleNamespace(batch_size=3, seed=1), workers=1)
    for one, other in zip(alone.epoch(2), helped.epoch(2), strict=True):
        assert torch.equal(one.images, other.images)
        pairs = list(zip(every_tensor(one.targets), every_tensor(other.targets), strict=True))
        assert len(pairs) == 12 and all(torch.equal(*pair) for pair in pairs)
        moved = one.to("cpu", channels_last=True)
        assert type(moved.targets) is type(one.targets) and moved.targets.attention.large.shape == (3, 1, 8, 8)
    helped.close()
    alone.close()


def test_an_image_without_objects_is_a_sample_too():
    image = np.full((60, 90, 3), 128, np.uint8)
    for seed in range(5):
        found = SaccadeSampling(CARD, 127, 4)(image, np.zeros((0, 4)), np.zeros(0, int), np.random.default_rng(seed))
        assert not any(np.asarray(wanted).any() for wanted in found.targets.attention)
        assert found.targets.top_left_weight.all() and not found.targets.corners.mask.any()


def test_real_photographs_with_crowds_and_empty_images_make_samples(shared_data):
    data = load_coco(shared_data / "coco_ci16", "train2017")
    card = CARD.model_copy(update={"class_names": data.class_names, "category_ids": data.category_ids})
    dataset = CornerDataset(data, SaccadeSampling(card, 127, 4))
    attended = 0
    for index in range(len(dataset)):
        item = dataset[Key(0, index, index)]
        assert torch.isfinite(item.images).all() and not item.problems
        attended += sum(int(wanted.sum()) for wanted in item.targets.attention)
    assert attended
