"""Parameters and multiply-accumulates are the published ones."""

import json

import pytest
import torch

from cornernet.engine.errors import ImageError
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs, count_parameters
from cornernet.trainer.network.presets import preset

GOLDEN_NAMES = {"hourglass-104": "Hourglass104", "squeeze": "Squeeze", "saccade": "Saccade(hourglass-54)"}


def parameters(name: str, classes: int = 80):
    with torch.device("meta"):
        return count_parameters(CornerNet(preset(name, classes)))


def test_hourglass_104_has_the_papers_parameters():
    assert parameters("hourglass-104") == (201_035_212, 194_367_782)


def test_squeeze_has_cornernet_lites_parameters():
    assert parameters("squeeze").total == 31_771_852


def test_saccade_has_cornernet_lites_parameters():
    assert parameters("saccade").total == 116_969_339


def test_saccade_tiny_has_fewer_than_half_a_million_parameters():
    assert 0.3e6 < parameters("saccade-tiny").total < 0.5e6


@pytest.mark.parametrize("classes", [1, 3, 80])
def test_tiny_has_about_a_million_parameters(classes):
    assert 0.7e6 < parameters("tiny", classes).total < 1.3e6


@pytest.mark.parametrize("name", GOLDEN_NAMES)
@pytest.mark.parametrize("size", [(255, 255), (511, 511), (511, 767)])
def test_multiply_accumulates_equal_those_of_the_official_network(golden, name, size):
    table = json.loads((golden / "g_macs_params.json").read_text())[GOLDEN_NAMES[name]]
    expected = table["{}x{}".format(*size)]["total_GMAC"]
    assert round(count_macs(preset(name, 80), *size) / 1e9, 3) == expected


def test_tiny_costs_a_fifth_of_a_gmac_at_128():
    assert 0.1e9 < count_macs(preset("tiny", 3), 128, 128) < 0.25e9


def test_counting_at_an_illegal_size_is_refused():
    with pytest.raises(ImageError, match="100 x 128"):
        count_macs(preset("tiny", 3), 100, 128)
