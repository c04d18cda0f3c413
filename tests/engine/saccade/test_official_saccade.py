"""Protocol "official" against numbers of CornerNet-Lite's own code: cuts, locations, whole inferences box for box."""

import numpy as np
import pytest
from placing_rig import OnDevice, PlacesViews, emulated_kernels
from planted_saccade import PlantedBackend, peaks_of, saccade_card, saccade_outputs

from cornernet.engine.detector import Detector
from cornernet.engine.protocol import OFFICIAL
from cornernet.engine.reading.images import read_image
from cornernet.engine.saccade.cuts import Cut, cut, place_cut, view
from cornernet.engine.saccade.locations import attention_locations, box_locations, thin_out

RULES = OFFICIAL.saccade
CARD = saccade_card()
MEAN, STD = np.float32(CARD.mean), np.float32(CARD.std)
HALF_A_LEVEL = 0.5 / 255 / STD.min()

ATTENTION = ("480x640", "640x426_many", "200x150_small", "100x90_tiny", "480x640_none", "333x500_edges")
INJECTED = ("480x640", "346x500_crowd", "640x427_no_attention", "427x640_nothing", "220x300_top20")
PHOTOGRAPHS = ("000000204805", "000000377575", "000000516008")


def load(golden, name):
    return np.load(golden / "h_saccade" / f"{name}.npz")


def views_of(image):
    return [view(tuple(image.tolist()), size, 255, 4, RULES) for size in CARD.saccade.view_sizes]


def crops_of(image, locations):
    return [cut(tuple(image.tolist()), (y, x), scale, 255, 4, RULES) for y, x, scale in locations[:, :3].tolist()]


def check_cuts(cuts, offsets, paste):
    assert np.array_equal([one.origin for one in cuts], offsets)
    assert np.array_equal([[*rows, *columns] for rows, columns in (one.target for one in cuts)], paste[:, :4])


def normalised(cuts, image):
    """The canvases (n, 3, 255, 255) as the network reads them."""
    canvases = np.empty((len(cuts), 255, 255, 3), np.uint8)
    for canvas, one in zip(canvases, cuts):
        place_cut(image, one, CARD, RULES, canvas)
    return ((canvases / np.float32(255) - MEAN) / STD).transpose(0, 3, 1, 2)


def attention_of(scores, cells, seen):
    every = (attention_locations(*one, CARD.saccade, RULES) for one in zip(scores, cells, seen))
    return np.concatenate(list(every))


@pytest.mark.parametrize("name", ["crops_120x161", "crops_photo_255165"])
def test_canvases_differ_from_the_official_ones_by_half_a_grey_level_at_most(golden, shared_data, name):
    numbers = load(golden, name)
    if "image_bgr_u8" in numbers:
        image = numbers["image_bgr_u8"]
    else:
        image = read_image(next(shared_data.rglob("*255165.jpg")))
    shape = np.array(image.shape[:2])
    for part, cuts in (("view", views_of(shape)), ("crop", crops_of(shape, numbers["crop.locations"]))):
        check_cuts(cuts, numbers[f"{part}.offsets"], numbers[f"{part}.paste"])
        canvases = normalised(cuts, image)
        assert np.abs(canvases[:, :, 3::8, 5::8] - numbers[f"{part}.sample"]).max() <= HALF_A_LEVEL + 1e-5
        for key in numbers.files:
            if key.startswith(f"{part}.canvas_"):
                whole = canvases[int(key.rpartition("_")[2])]
                assert np.abs(whole - numbers[key]).max() <= HALF_A_LEVEL + 1e-5


@pytest.mark.parametrize("name", ATTENTION)
def test_locations_are_the_official_ones_in_their_order(golden, name):
    numbers = load(golden, f"attention_{name}")
    image = numbers["image_hw"]
    views = views_of(image)
    assert np.array_equal([one.origin for one in views], numbers["view_offsets"])
    assert np.array_equal(np.float32([one.zoom for one in views]), numbers["view_locations"][:, 2])
    scores, cells = peaks_of([numbers[f"att{level}"] for level in range(3)])
    attention = attention_of(scores, cells, views)
    assert np.array_equal(attention, numbers["att_locations"].reshape(-1, 4))
    dets = numbers["view_dets"]
    boxes = box_locations(dets[:, :4], dets[:, 4], tuple(image.tolist()), CARD.saccade, RULES)
    assert np.array_equal(boxes, numbers["ref_locations"].reshape(-1, 4))
    every = thin_out(np.concatenate((attention, boxes)), RULES, most=1000)
    assert np.array_equal(every, numbers["nms_locations"].reshape(-1, 4))
    best = thin_out(np.concatenate((attention, boxes)), RULES, most=30)
    assert np.array_equal(best, numbers["crops"].reshape(-1, 4))


def test_attention_of_crops_is_read_as_officially(golden):
    """What further looks would need; the large level asks for nothing new there."""
    numbers = load(golden, "attention_second_look")
    image = tuple(numbers["image_hw"].tolist())
    nothing = ((0, 0), (0, 0))
    seen = [
        Cut(image, (255, 255), nothing, nothing, scale, (scale, scale), tuple(offset))
        for scale, offset in zip(numbers["scales"].tolist(), numbers["offsets"].astype(float).tolist())
    ]
    scores, cells = peaks_of([numbers[f"att{level}"] for level in range(3)])
    scores[:, 0] = -1
    locations = attention_of(scores, cells, seen)
    assert np.array_equal(locations, numbers["att_locations"])
    assert np.array_equal(thin_out(locations, RULES, most=1000), numbers["nms_locations"])


def planted(numbers, classes, size):
    """A detector whose network answers as the official one did, and the backend behind it."""
    attention = peaks_of([numbers[f"view.att{level}"] for level in range(3)])
    answers = [saccade_outputs(numbers["view.decoded"], numbers["view.n_valid"], attention)]
    if "crop.decoded" in numbers:
        answers.append(saccade_outputs(numbers["crop.decoded"], numbers["crop.n_valid"]))
    backend = PlantedBackend(*answers, card=saccade_card(classes))
    return Detector(backend, protocol="official", max_per_image=size), backend


def check_result(found, final, *, box=2e-3, score=1e-5):
    """As sets: rows of equal scores may swap."""
    assert found.error is None and len(found) == len(final)
    got = np.column_stack((found.boxes, found.scores, found.labels))
    left = list(range(len(final)))
    for row in got:
        distance = np.abs(final[left] - row)
        near = (distance[:, :4].max(axis=1) <= box) & (distance[:, 4] <= score) & (distance[:, 5] == 0)
        assert near.any(), row
        left.pop(int(np.flatnonzero(near)[0]))


@pytest.mark.parametrize("name", INJECTED)
def test_a_whole_inference_gives_the_official_boxes(golden, name):
    numbers = load(golden, f"inject_{name}")
    detector, backend = planted(numbers, 6, int(numbers["max_per_image"]))
    (found,) = detector.predict(np.zeros((*numbers["image_hw"], 3), np.uint8))
    assert len(backend.canvases) == 2 + (len(numbers["crop.locations"]) if "crop.locations" in numbers else 0)
    check_result(found, numbers["final"])


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("floats", [False, True], ids=["rounded", "float"])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_give_the_official_canvases_and_boxes(golden, shared_data, name, floats, where):
    numbers = load(golden, f"pipeline_{name}")
    detector, backend = planted(numbers, 80, 100)
    backend.takes_float = floats
    source = next(shared_data.rglob(f"*{name}.jpg"))
    if where == "device":
        kernels = emulated_kernels()
        source = OnDevice(kernels, read_image(source))
        detector = Detector(PlacesViews(kernels, backend), protocol="official", max_per_image=100)
    (found,) = detector.predict(source)
    check_result(found, numbers["final"], box=0.02, score=1e-4)
    canvases = ((np.stack(backend.canvases) / np.float32(255) - MEAN) / STD).transpose(0, 3, 1, 2)
    samples = np.concatenate((numbers["view.sample"], numbers["crop.sample"]))
    difference = np.abs(canvases[:, :, 7::20, 11::20] - samples).max()
    assert difference <= 1e-5 if floats else 1e-3 < difference <= HALF_A_LEVEL + 1e-5
