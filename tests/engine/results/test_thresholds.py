"""From which score on boxes are kept, by one number, by class, and by default."""

import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture

from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard

IMAGE = picture(127, 127)
ROWS = [(0, 0, 9, 9, 0.9, 0), (10, 10, 19, 19, 0.35, 0), (20, 20, 29, 29, 0.25, 0), (30, 30, 39, 39, 0.2, 1)]


def kept(card=None, **settings):
    backend = FunctionBackend(lambda canvas: ROWS, card or make_card())
    (found,) = Detector(backend, mirror=False, **settings).predict(IMAGE)
    assert found.error is None
    return [(round(float(score), 2), name) for score, name in zip(found.scores, found.names)]


def reference(thresholds):
    names = ("bright", "other")
    return [(row[4], names[row[5]]) for row in ROWS if row[4] >= thresholds[row[5]]]


@pytest.mark.parametrize(
    ("asked", "thresholds"),
    [
        (None, (0.3, 0.3)),
        (0.0, (0, 0)),
        (0.3, (0.3, 0.3)),
        ({"other": 0.1}, (0.3, 0.1)),
        ({"bright": 0.5, "other": 0.2}, (0.5, 0.2)),
    ],
)
@pytest.mark.parametrize("soft_nms", ["gaussian", None])
@pytest.mark.parametrize("protocol", ["default", "official"])
def test_each_class_has_its_own_lowest_score(asked, thresholds, soft_nms, protocol):
    if protocol == "official":  # what nobody asks for is kept, as the official code keeps it
        named = asked if isinstance(asked, dict) else {}
        unsaid = 0 if asked is None or isinstance(asked, dict) else asked
        thresholds = tuple(named.get(name, unsaid) for name in ("bright", "other"))
    assert kept(score_threshold=asked, soft_nms=soft_nms, protocol=protocol) == reference(thresholds)


def test_the_cards_thresholds_are_the_default_and_those_of_classes_that_are_not_named():
    card = make_card(score_thresholds=(0.5, 0.1))
    assert kept(card) == reference((0.5, 0.1))
    assert kept(card, score_threshold={"bright": 0.3}) == reference((0.3, 0.1))
    assert kept(card, score_threshold=0.3) == reference((0.3, 0.3))


def test_classes_that_are_not_asked_for_take_no_place_among_the_best():
    assert kept(classes=["other"], score_threshold=0, max_per_image=1) == [(0.2, "other")]
    assert kept(classes=["other", "bright"], score_threshold=0) == reference((0, 0))
    for protocol in ("default", "official"):
        assert kept(classes=["bright"], score_threshold=0, protocol=protocol) == reference((0, 1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score_threshold": {"cat": 0.3}}, "cat: no class of this model; it knows bright, other"),
        ({"score_threshold": {"bright": 30}}, "score_threshold of bright=30; expected a number from 0 to 1"),
        ({"classes": ["bright", "dog"]}, "dog: no class"),
        ({"classes": "bright"}, "expected a list"),
    ],
)
def test_unknown_classes_and_impossible_numbers_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Detector(FunctionBackend(bright_box), **settings)


def test_evaluation_sees_every_box_unless_a_threshold_was_asked_for():
    backend = FunctionBackend(lambda canvas: ROWS, make_card(score_thresholds=(0.5, 0.5)))
    with Detector(backend) as detector:
        assert len(detector.for_evaluation().predict(IMAGE)[0]) == 4
        assert len(detector.predict(IMAGE)[0]) == 1
    assert len(Detector(backend, score_threshold=0.3).for_evaluation().predict(IMAGE)[0]) == 2


def test_a_card_without_thresholds_reads_as_before_and_one_with_too_many_is_refused():
    assert "score_thresholds" not in make_card().to_json()
    card = make_card(score_thresholds=(0.25, 1))
    assert ModelCard.from_json(card.to_json(), origin="x") == card
    with pytest.raises(ModelError, match="score"):
        ModelCard.from_json(card.to_json().replace("[0.25,1.0]", "[0.25]"), origin="x")


@pytest.mark.parametrize("merge_exponent", [None, 1.0])
def test_thresholds_of_classes_equal_filtering_afterwards(merge_exponent):
    generator = np.random.default_rng(3)
    corners = np.sort(generator.uniform(0, 60, (40, 2, 2)), axis=1).reshape(-1, 4)
    rows = [
        (*box, score, label) for box, score, label in zip(corners, generator.random(40), generator.integers(0, 2, 40))
    ]

    def run(threshold):
        from fake_backends import raw_detections

        class Many(FunctionBackend):
            def run(self, canvases):
                return raw_detections([rows for _ in canvases], num_dets=40)

        backend = Many(None)
        return Detector(backend, score_threshold=threshold, merge_exponent=merge_exponent).predict(IMAGE)[0]

    every, some = run(0), run({"bright": 0.6, "other": 0.3})
    chosen = every.select(every.scores >= np.array([0.6, 0.3], np.float32)[every.labels])
    assert 0 < len(some) < len(every)
    np.testing.assert_array_equal(some.boxes, chosen.boxes)
    np.testing.assert_array_equal(some.labels, chosen.labels)
