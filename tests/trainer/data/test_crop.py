"""Crops: the official sampling function's, draw by draw; what the options change."""

import numpy as np
import oracles_saccade_training as oracles
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cornernet.trainer.data.crop import (
    Crop,
    CropBoxes,
    CropConfig,
    boxes_in_crop,
    crop_window,
    has_corners,
    mirrored,
    random_crop,
    shown,
)

OFFICIAL = CropConfig(window="official", views=0)
SIDE, BOUNDS = 255, (96, 32)
FILES = [f"targets_losses_{index}" for index in range(4)]


def test_a_box_without_extent_worth_a_pixel_gives_a_crop_all_the_same():
    boxes = np.array([[5, 5, 5 + 1e-300, 5 + 1e-300], [9.0, 9, 9, 9]])
    crop = random_crop(boxes, (30, 40), np.random.default_rng(0), side=SIDE, bounds=BOUNDS, config=CropConfig(views=0))
    assert 0 < crop.scale <= 32
    assert len(boxes_in_crop(boxes, (30, 40), crop, side=SIDE, config=CropConfig()).boxes) <= 1


def saccade_case(golden, name):
    file = golden / "h_saccade" / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"needs ../shared/golden/h_saccade/{name}.npz, which is not there")
    return dict(np.load(file))


class Numpy1:
    """numpy's global generator of old, by the names of the new one."""

    def __init__(self, seed):
        self.state = np.random.RandomState(seed)

    def integers(self, low, high):
        return self.state.randint(low, high)

    def random(self):
        return self.state.uniform()


@pytest.mark.parametrize("name", FILES)
def test_the_same_random_numbers_give_the_official_crops(golden, name):
    data = saccade_case(golden, name)
    rng = Numpy1(int(data["np_seed"]))
    for image in range(len(data["order"])):
        boxes = data[f"boxes_in_{image}"][:, :4]
        crop = random_crop(boxes, tuple(data[f"image_hw_{image}"]), rng, side=SIDE, bounds=BOUNDS, config=OFFICIAL)
        assert crop.scale == pytest.approx(float(data[f"scale_{image}"]), rel=1e-6)
        assert crop.centre == tuple(data[f"centre_{image}"])
        row = int(data[f"ref_{image}"])
        reference = None if row < 0 else data[f"boxes_clipped_{image}"][row, :4].tolist()
        assert (crop.reference is None) == (reference is None)
        if reference is not None:
            height, width = data[f"image_hw_{image}"]
            found = boxes[crop.reference].clip(0, [width - 1, height - 1] * 2)
            assert found.tolist() == pytest.approx(reference)
        if data["flip_possible"]:
            assert (rng.random() > 0.5) == bool(data[f"flipped_{image}"])


@pytest.mark.parametrize("name", FILES)
def test_boxes_of_a_crop_equal_the_official_ones(golden, name):
    data = saccade_case(golden, name)
    for image in range(len(data["order"])):
        given_boxes = data[f"boxes_in_{image}"]
        crop = Crop(float(data[f"scale_{image}"]), tuple(data[f"centre_{image}"]))
        size = tuple(data[f"image_hw_{image}"].tolist())
        found = boxes_in_crop(given_boxes[:, :4], size, crop, side=SIDE, config=OFFICIAL)
        expected = data[f"boxes_{image}"]
        x1, y1, x2, y2 = shown(crop, size, SIDE, OFFICIAL)
        assert [y1, y2, x1, x2] == data[f"border_{image}"].tolist()
        boxes = mirrored(found.boxes, SIDE, OFFICIAL) if data[f"flipped_{image}"] else found.boxes
        np.testing.assert_allclose(boxes, expected[:, :4], atol=2e-4)
        np.testing.assert_array_equal(given_boxes[found.kept, 4], expected[:, 4])
        np.testing.assert_allclose(found.visible, data[f"visible_{image}"], rtol=1e-4)


pictures = st.tuples(st.integers(20, 900), st.integers(20, 900))
objects = st.lists(st.tuples(*[st.floats(-0.2, 1.2)] * 4), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    image=pictures,
    shares=objects,
    seed=st.integers(0, 99),
    side=st.sampled_from([255, 127]),
    window=st.sampled_from(["whole", "official"]),
    free=st.sampled_from([0.0, 0.5]),
)
@example(
    image=(20, 20),
    shares=[(0.0, 0.0, 1.0, 1.192092896e-07), (0.0, 0.0, 0.5, 0.5939810820102585)],
    seed=0,
    side=255,
    window="whole",
    free=0.0,
)
def test_a_crop_shows_its_object_at_a_length_of_its_size_class(image, shares, seed, side, window, free):
    corners = np.sort(np.array(shares).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    boxes = corners * np.array([image[1], image[0]] * 2)
    config, bounds = CropConfig(window=window, free=free, views=0), (side * 96 // 255, side * 32 // 255)
    crop = random_crop(boxes, image, np.random.default_rng(seed), side=side, bounds=bounds, config=config)
    found = boxes_in_crop(boxes, image, crop, side=side, config=config)
    assert (found.boxes >= 0).all() and (found.boxes <= side).all()
    assert (found.visible > 0).all() and (found.visible <= 1 + 1e-9).all()
    x1, y1, x2, y2 = shown(crop, image, side, config)
    assert 0 <= x1 < x2 <= side and 0 <= y1 < y2 <= side
    if crop.reference is None:
        assert crop.scale in config.scales
        return
    last = 1 if window == "official" else 0
    clipped = boxes[crop.reference].clip(0, [image[1] - last, image[0] - last] * 2)
    before = max(clipped[2:] - clipped[:2])
    length = max(before, 1) * crop.scale  # what is shorter than a pixel is not magnified further
    assert length == pytest.approx(round(length), abs=1e-6)
    classes = (bounds[1] // 2, bounds[1]), bounds[::-1], (bounds[0], side - 1)
    least, most = classes[int(before > bounds[1]) + int(before > bounds[0])]
    assert least - 1e-6 <= length <= most + 1e-6


quarters = st.integers(-200, 3600).map(lambda number: number / 4)


@settings(max_examples=60, deadline=None)
@given(
    image=pictures,
    corners=st.lists(st.tuples(*[quarters] * 4).filter(lambda c: c[0] != c[2] and c[1] != c[3]), max_size=5),
    scale=st.sampled_from([0.25, 0.6, 1.0, 2.7]),
    centre=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    window=st.sampled_from(["whole", "official"]),
)
def test_boxes_of_any_crop_equal_the_oracle(image, corners, scale, centre, window):
    boxes = np.sort(np.array(corners, float).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    found = boxes_in_crop(boxes, image, Crop(scale, centre), side=127, config=CropConfig(window=window))
    expected = oracles.boxes_in_crop(boxes, image, scale, centre, 127, window == "official")
    assert found.kept.tolist() == [row for row, _, _ in expected]
    np.testing.assert_allclose(found.boxes, np.reshape([box for _, box, _ in expected], (-1, 4)), atol=1e-4)
    np.testing.assert_allclose(found.visible, [visible for _, _, visible in expected], rtol=1e-9)


@pytest.mark.parametrize("centred", [0.0, 1.0])
def test_an_object_that_fits_is_shown_whole_or_has_its_centre_on_the_canvas(centred):
    rng, config = np.random.default_rng(0), CropConfig(centred=centred, views=0)
    boxes = np.array([[300.0, 200, 340, 260]])
    for _ in range(50):
        crop = random_crop(boxes, (600, 800), rng, side=SIDE, bounds=BOUNDS, config=config)
        found = boxes_in_crop(boxes, (600, 800), crop, side=SIDE, config=config)
        middle = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
        if centred:
            assert (abs(middle - SIDE // 2) <= 15).all()
        else:
            assert found.visible[0] == pytest.approx(1, abs=0.05)


def test_a_view_shows_the_whole_picture():
    config = CropConfig(views=1.0)
    crop = random_crop(np.zeros((0, 4)), (300, 510), np.random.default_rng(0), side=SIDE, bounds=BOUNDS, config=config)
    assert crop.scale == 0.5
    assert shown(crop, (300, 510), SIDE, config) == (0, 52, 255, 202)
    window = crop_window(crop, (300, 510), SIDE, config)
    assert window == (0, -104, 510, 510)


def test_the_whole_canvas_is_used_and_mirroring_keeps_it():
    crop = Crop(1.0, (300, 400))
    boxes = np.array([[100.0, 100, 700, 500]])
    whole = boxes_in_crop(boxes, (600, 800), crop, side=SIDE, config=CropConfig())
    assert whole.boxes.tolist() == [[0, 0, 255, 255]]
    assert mirrored(whole.boxes, SIDE, CropConfig()).tolist() == [[0, 0, 255, 255]]
    official = boxes_in_crop(boxes, (600, 800), crop, side=SIDE, config=OFFICIAL)
    assert official.boxes.tolist() == [[0, 0, 253, 253]]
    assert mirrored(official.boxes, SIDE, OFFICIAL).tolist() == [[1, 0, 254, 253]]


def test_corners_are_learnt_of_what_is_mostly_visible_and_not_tiny():
    boxes = np.array([[10, 10, 26, 12], [10.9, 10, 26.2, 12], [0, 0, 50, 50], [0, 0, 50, 50]], np.float32)
    cut = CropBoxes(boxes, np.arange(4), np.array([1, 1, 0.5, 0.51]))
    assert has_corners(cut, BOUNDS, CropConfig()).tolist() == [True, True, False, True]
    assert has_corners(cut._replace(boxes=boxes - [0, 0, 0.5, 0]), BOUNDS, CropConfig()).tolist()[:2] == [False, False]


@pytest.mark.parametrize("wrong", [{"scales": ()}, {"free": 2}, {"window": "half"}, {"jitter": 0}, {"unknown": 1}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValueError):
        CropConfig(**wrong)
