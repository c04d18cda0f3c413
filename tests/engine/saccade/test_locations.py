"""Which places are looked at: beside loops over cells and pairs, and what each switch of the protocol is for."""

from dataclasses import replace

import numpy as np
import oracles_saccade as oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_saccade import peaks_of, saccade_card

from cornernet.engine.protocol import DEFAULT, OFFICIAL_SACCADE
from cornernet.engine.saccade.cuts import view
from cornernet.engine.saccade.locations import attention_locations, box_locations, thin_out

SACCADE = saccade_card().saccade
RULES = DEFAULT.saccade
sides = st.tuples(st.integers(1, 900), st.integers(1, 900))


def maps_of(seed, peaks=12):
    """Attention of one view: a few values on a grid of tenths, so that equal ones and plateaus are the rule."""
    random = np.random.default_rng(seed)
    maps = []
    for side in (16, 32, 64):
        values = np.zeros((1, 1, side, side), np.float32)
        places = random.integers(0, side, (peaks, 2))
        values[0, 0, places[:, 0], places[:, 1]] = random.integers(0, 11, peaks) / 10
        maps.append(values)
    return maps


@settings(max_examples=10, deadline=None)
@given(sides, st.integers(0, 10**6))
def test_attention_becomes_the_locations_of_the_description(image, seed):
    maps = maps_of(seed)
    scores, cells = peaks_of(maps)
    for size in (192, 255):
        seen = view(image, size, 255, 4, OFFICIAL_SACCADE)
        got = attention_locations(scores[0], cells[0], seen, SACCADE, OFFICIAL_SACCADE)
        expected = oracles.official_attention([values[0, 0] for values in maps], seen.zoom, seen.origin, image)
        assert [tuple(row) for row in got.tolist()] == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from(["square", "cross"]), st.sampled_from([None, 1e-6]))
def test_locations_are_thinned_out_as_pair_by_pair(seed, count, near, tolerance):
    random = np.random.default_rng(seed)
    steps = random.integers(0, 40, (count, 2)) * 4.0  # exact ties are the rule
    scales = random.choice([0.4, 0.8, 1.6, 1.0, 0.9], count)
    locations = np.column_stack((steps, scales, random.integers(1, 10, count) / 10)).reshape(-1, 4)
    rules = replace(RULES, near=near, tie_tolerance=tolerance)
    expected = oracles.thin_out(list(map(tuple, locations.tolist())), near=near, tolerance=tolerance)
    for most in (0, 1, 30, 1000):
        got = thin_out(locations, rules, most=most)
        assert got.shape == (min(most, len(expected)), 4)
        assert list(map(tuple, got.tolist())) == expected[:most]


def test_a_place_far_away_in_the_same_row_is_looked_at_too():
    row = np.array([[100, 10, 1, 0.9], [100, 400, 1, 0.8]], float)
    assert len(thin_out(row, RULES, most=30)) == 2
    assert len(thin_out(row, OFFICIAL_SACCADE, most=30)) == 1


def test_ties_do_not_hang_on_the_last_digit():
    """16 / 0.3 apart, but for rounding."""
    for gap in (16 / 0.3, np.nextafter(16 / 0.3, 0), np.nextafter(16 / 0.3, 100)):
        pair = np.array([[0, 0, 0.3, 0.9], [gap, gap, 0.3, 0.8]])
        assert len(thin_out(pair, RULES, most=30)) == 2
    official = [
        len(thin_out(np.array([[0, 0, 0.3, 0.9], [gap, gap, 0.3, 0.8]]), OFFICIAL_SACCADE, most=30))
        for gap in (np.nextafter(16 / 0.3, 0), np.nextafter(16 / 0.3, 100))
    ]
    assert official == [1, 2]


def test_the_better_boxes_are_looked_at_first_and_before_attention():
    boxes = np.float32([[0, 0, 20, 20], [200, 200, 260, 260]])
    for rules, ranks in ((RULES, [1.6, 1.9]), (OFFICIAL_SACCADE, [1, 1])):
        found = box_locations(boxes, np.float32([0.6, 0.9]), (480, 640), SACCADE, rules)
        assert found[:, 3] == pytest.approx(ranks)


@pytest.mark.parametrize(
    ("longer", "scale"), [(200, 192 / 200), (97, 192 / 97), (96, 64 / 96), (33, 64 / 33), (32, 24 / 32), (8, 3)]
)
def test_the_scale_shows_a_box_at_the_size_of_its_class(longer, scale):
    boxes = np.float32([[10, 10, 10 + longer, 10 + longer / 2]])
    (found,) = box_locations(boxes, np.float32([0.9]), (480, 640), SACCADE, OFFICIAL_SACCADE)
    assert found[2] == pytest.approx(scale)


def test_weak_boxes_and_boxes_of_no_size_ask_for_nothing():
    boxes = np.float32([[0, 0, 9, 9], [5, 5, 5, 5], [0, 0, np.nan, 9], [0, 0, np.inf, 9], [1, 1, 8, 9]])
    for rules in (RULES, OFFICIAL_SACCADE):
        found = box_locations(boxes, np.float32([0.5, 0.9, 0.9, 0.9, 0.51]), (480, 640), SACCADE, rules)
        assert found[:, :2].tolist() == [[5, 4.5]]


def test_places_of_boxes_stay_in_the_image_and_their_zoom_within_reason():
    boxes = np.float32([[-300, 10, -100, 60], [-10, 10, -6, 14], [-2, 10, 4, 14]])
    official = box_locations(boxes, np.float32([0.9] * 3), (100, 100), SACCADE, OFFICIAL_SACCADE)
    assert official[:, 1].tolist() == [-200, -8, 1] and official[1, 2] == 6
    corrected = box_locations(boxes, np.float32([0.9] * 3), (100, 100), SACCADE, RULES)
    assert (corrected[:, 1] >= 0).all() and (corrected[:, 2] <= 4).all()


def test_a_small_image_keeps_its_attention():
    maps = [np.zeros((1, 1, side, side), np.float32) for side in (16, 32, 64)]
    for values in maps:
        values[0, 0, values.shape[2] // 2, values.shape[3] // 2] = 0.9
    scores, cells = peaks_of(maps)
    counts = {}
    for name, rules in (("official", OFFICIAL_SACCADE), ("default", RULES)):
        seen = view((60, 80), 255, 255, 4, rules)
        counts[name] = attention_locations(scores[0], cells[0], seen, SACCADE, rules)
    assert len(counts["official"]) == 0
    assert len(counts["default"]) == 3 and (counts["default"][:, 2] <= 4).all()


def test_a_cell_is_its_corner_as_in_training_unless_its_centre_is_asked_for():
    maps = [np.zeros((1, 1, side, side), np.float32) for side in (16, 32, 64)]
    maps[0][0, 0, 8, 8] = 0.9
    scores, cells = peaks_of(maps)
    seen = view((480, 640), 255, 255, 4, RULES)
    (corner,), (centre,) = (
        attention_locations(scores[0], cells[0], seen, SACCADE, replace(RULES, cell_centre=moved))
        for moved in (False, True)
    )
    assert (centre - corner)[:2] == pytest.approx(np.divide(8, seen.scale))
