"""Which rule decides whether the mirrored view runs."""

import dataclasses

import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture

from cornernet.engine.detector import Detector
from cornernet.engine.protocol import DEFAULT, MMDETECTION, OFFICIAL
from cornernet.engine.reading.views import mirrors


@pytest.mark.parametrize(
    ("test_mirror", "protocol", "asked", "expected"),
    [
        (None, OFFICIAL, None, True),
        (None, DEFAULT, None, False),
        (None, MMDETECTION, None, False),
        (False, OFFICIAL, None, False),
        (True, MMDETECTION, None, True),
        (True, DEFAULT, None, False),  # the default protocol imitates nobody
        (True, dataclasses.replace(DEFAULT, mirror=True), None, True),
        (False, OFFICIAL, True, True),
        (True, OFFICIAL, False, False),
    ],
)
def test_an_order_goes_before_the_card_and_the_card_before_another_projects_protocol(
    test_mirror, protocol, asked, expected
):
    assert mirrors(make_card(test_mirror=test_mirror), protocol, asked) is expected


@pytest.mark.parametrize(("test_mirror", "views"), [(None, 2), (False, 1)])
def test_the_detector_follows_the_card_under_the_official_protocol(test_mirror, views):
    backend = FunctionBackend(bright_box, make_card(test_mirror=test_mirror))
    Detector(backend, protocol="official").predict(picture(100, 100))
    assert sum(shape[0] for shape in backend.shapes) == views
