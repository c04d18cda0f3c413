"""The settings of a Detector over a CornerNet-Saccade, and every quirk of the protocol by itself."""

from dataclasses import fields, replace

import pytest
from fake_backends import FunctionBackend, bright_box
from planted_saccade import AT_THE_EDGE, LARGE, TINY, SceneBackend, saccade_card, scene

from cornernet.engine.detector import Detector
from cornernet.engine.errors import ModelError
from cornernet.engine.protocol import DEFAULT, OFFICIAL, SaccadeRules
from cornernet.engine.reading.views import ViewPlan
from cornernet.engine.saccade.two_looks import TwoLooks


def test_classes_and_thresholds_are_those_of_any_detector():
    detector = Detector(SceneBackend(), soft_nms="hard", classes=["class 1"])
    assert len(detector.predict(scene(LARGE))[0]) == 0
    assert len(Detector(SceneBackend(), score_threshold=0.95).predict(scene(LARGE))[0]) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scales": (0.5, 1)}, "scales"),
        ({"mirror": True}, "mirror"),
        ({"resize": "original"}, "resize"),
        ({"size": (128, 128)}, "size"),
    ],
)
def test_settings_that_it_does_not_have_are_refused(settings, words):
    with pytest.raises(ModelError, match=rf"{words}=.*a CornerNet-Saccade looks at views of \(192, 255\) px"):
        Detector(SceneBackend(), **settings)


def test_the_number_of_crops_is_the_cards_unless_asked_for_and_only_a_saccade_has_one():
    assert Detector(SceneBackend()).stages.plan.max_crops == 30
    assert isinstance(Detector(SceneBackend(), max_crops=7).stages.plan, TwoLooks)
    assert isinstance(Detector(FunctionBackend(bright_box)).stages.plan, ViewPlan)
    with pytest.raises(ModelError, match="makes no crops"):
        Detector(FunctionBackend(bright_box), max_crops=7)
    for wrong in (-1, 1.5, 10**6):
        with pytest.raises((ValueError, TypeError), match="max_crops"):
            Detector(SceneBackend(), max_crops=wrong)


def test_fewer_crops_are_the_best_ones():
    objects = [(40 + 150 * column, 40 + 110 * row, 60 + 150 * column, 60 + 110 * row, 100 + 9 * (4 * row + column))
               for row in range(3) for column in range(4)]  # fmt: skip
    found = {most: Detector(SceneBackend(saccade_card()), max_crops=most, soft_nms="hard").predict(scene(*objects))[0]
             for most in (0, 4, 30)}  # fmt: skip
    assert len(found[0]) == 0 < len(found[4]) < len(found[30]) == 12
    assert found[4].scores.max() == pytest.approx(199 / 255, abs=0.02)


def test_evaluation_and_validation_open_it_as_any_other_model():
    detector = Detector(SceneBackend(), resize="fit", size=(255, 255)).for_evaluation()
    assert detector.stages.suppression.score_threshold == 0
    detector.warm_up(3)
    assert detector.backend.shapes == [(3, 255, 255, 3)]


@pytest.mark.parametrize("rule", [field.name for field in fields(SaccadeRules)])
def test_every_quirk_can_be_switched_alone(rule):
    image = scene(TINY, LARGE, AT_THE_EDGE)
    for protocol, other in ((DEFAULT, OFFICIAL), (OFFICIAL, DEFAULT)):
        changed = replace(protocol.saccade, **{rule: getattr(other.saccade, rule)})
        detector = Detector(SceneBackend(), protocol=replace(protocol, saccade=changed))
        assert detector.protocol.saccade == changed
        (found,) = detector.predict(image)
        assert found.error is None and len(found) >= 2
