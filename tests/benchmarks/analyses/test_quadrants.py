"""Table 3: matching, average precision and quadrants against slow references and scenes with known answers."""

import numpy as np
import oracles_analyses as oracles
import pytest
from analysed_scene import CARD, random_network, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.benchmarks.analyses.observe import corners
from cornernet.benchmarks.analyses.quadrants import (
    BRANCHES,
    QUADRANTS,
    Peaks,
    Tally,
    average_precision,
    match_peaks,
    peaks_of,
    quadrant,
    quadrant_tables,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9]), st.booleans()), max_size=25),
    st.integers(1, 30),
    st.randoms(use_true_random=False),
)
def test_average_precision_equals_the_slow_reference(scored, positives, random):
    scored = [(score + 1e-6 * random.random(), hit) for score, hit in scored]  # ties have no one order
    positives = max(positives, sum(hit for _, hit in scored))
    assert average_precision(scored, positives) == pytest.approx(
        oracles.average_precision(scored, positives), abs=1e-12
    )


def test_average_precision_of_a_perfect_list_is_one():
    assert average_precision([(0.9, True), (0.8, True), (0.1, False)], 2) == 1
    assert average_precision([], 2) == 0
    assert average_precision([(0.9, False), (0.8, True)], 1) == 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2**31), st.floats(0.5, 6))
def test_matching_equals_the_slow_reference(peaks, objects, seed, radius):
    rng = np.random.default_rng(seed)
    points, known = rng.uniform(0, 10, (peaks, 2)), rng.uniform(0, 10, (objects, 2))
    labels, known_labels = rng.integers(0, 2, peaks), rng.integers(0, 2, objects)
    found = match_peaks(Peaks(points, np.ones(peaks), labels), known, known_labels, radius)
    assert found == oracles.match_peaks(points, labels, known, known_labels, radius)


@pytest.mark.parametrize(
    ("point", "name"),
    [((1, 1), "top-left"), ((5, 1), "top-right"), ((4.99, 5), "bottom-left"), ((5, 5), "bottom-right")],
)
def test_a_point_on_a_middle_line_counts_right_and_below(point, name):
    assert quadrant(np.array(point), np.array([5, 5])) == name


def tally(seen, objects, branch=0, radius=2.5):
    measured = Tally()
    peaks = peaks_of(corners(seen.heads, CARD.decoder)[branch])
    measured.add(peaks, objects, seen, branch, radius)
    return measured.mean_ap()


def test_found_corners_count_in_their_own_quadrant_only():
    seen = scene([(2, 2, 0, 0.9, 0), (12, 13, 1, 0.8, 0)], [])
    objects = truth([[8, 8, 20, 20], [48, 52, 60, 60], [40, 8, 60, 30]], [0, 1, 1])
    found = tally(seen, objects)
    assert found == {
        "top-left": 1,
        "top-right": 0,
        "bottom-left": -1,
        "bottom-right": 1,
        "all": pytest.approx(0.75, abs=0.01),
    }


def test_bottom_right_corners_are_those_of_the_other_branch():
    seen = scene([], [(5, 5, 0, 0.9, 0)])
    found = tally(seen, truth([[8, 8, 20, 20]], [0]), branch=1)
    assert found["top-left"] == 1 and found["bottom-right"] == -1


def test_a_false_peak_lowers_the_quadrant_it_lies_in_and_one_beside_a_found_corner_does_not():
    objects = truth([[8, 8, 20, 20], [40, 8, 60, 30]], [0, 0])
    # (6, 2) is 4 cells from the first corner: false. (2, 4) is within 2.5 cells of the corner that (2, 2) has found.
    seen = scene([(2, 2, 0, 0.5, 0), (2, 4, 0, 0.9, 0), (10, 2, 0, 0.8, 0), (6, 2, 0, 0.95, 0)], [])
    found = tally(seen, objects)
    assert found["top-left"] == pytest.approx(0.5)
    assert found["top-right"] == 1


def test_a_peak_in_a_crowd_region_of_its_class_is_not_counted():
    objects = truth([[8, 8, 20, 20]], [0], [[20, 0, 64, 30]], [0])
    peaks = [(2, 2, 0, 0.5, 0), (7, 2, 0, 0.9, 0)]
    assert tally(scene(peaks, []), objects)["top-left"] == 1
    elsewhere = objects._replace(crowd_labels=np.array([1]))
    assert tally(scene(peaks, []), elsewhere)["top-left"] == pytest.approx(0.5)


def test_the_middle_is_the_image_s_not_the_canvas_s():
    network = random_network()
    seen = network.observe(np.zeros((100, 60, 3), np.uint8))
    objects = truth([[29, 49, 59, 99], [31, 51, 60, 100]], [0, 0])
    measured = Tally()
    measured.add(Peaks(np.zeros((0, 2)), np.zeros(0), np.zeros(0, int)), objects, seen, 0, 2.5)
    counts = {where: count for (where, _), count in measured.corners.items()}
    assert counts == {"top-left": 1, "bottom-right": 1, "all": 2}


def test_two_models_are_compared_as_in_the_paper():
    one = {branch: dict.fromkeys((*QUADRANTS, "all"), 0.5) for branch in BRANCHES}
    two = {branch: dict.fromkeys((*QUADRANTS, "all"), 0.55) for branch in BRANCHES}
    tables = quadrant_tables({"without": one, "with": two})
    assert [table.columns for table in tables] == [("where", "mAP without", "mAP with", "improvement")] * 2
    assert tables[0].rows[0] == ("top-left quadrant", 0.5, 0.55, "+5.0")
    assert quadrant_tables({"one": one})[1].columns == ("where", "mAP one")
