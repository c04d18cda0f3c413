from itertools import pairwise
from pathlib import Path

import pytest

from cornernet.engine.errors import TrainingError
from cornernet.trainer.data.crop import CropConfig
from cornernet.trainer.loop.config import TrainConfig, learning_rate_at
from cornernet.trainer.loop.saccade_loss import SaccadeLossConfig
from cornernet.trainer.network.presets import PRESETS

EXPERIMENTS = sorted((Path(__file__).parents[3] / "benchmarks/experiments").glob("*.toml"))


def test_defaults_are_the_papers_where_the_paper_names_a_value():
    config = TrainConfig()
    assert (config.learning_rate, config.pull_weight, config.push_weight, config.offset_weight) == (2.5e-4, 0.1, 0.1, 1)
    assert config.size == (511, 511)
    assert config.radius == "object"


def test_a_toml_file_sets_fields_and_overrides_win(tmp_path):
    file = tmp_path / "experiment.toml"
    file.write_text('preset = "squeeze"\nepochs = 7\n[augment]\nflip = 0.25\n')
    config = TrainConfig.read(file, epochs=9, batch_size=None)
    assert (config.preset, config.epochs, config.batch_size) == ("squeeze", 9, TrainConfig().batch_size)
    assert config.augment.flip == 0.25


@pytest.mark.parametrize(
    ("text", "named"),
    [("epochs = 0", "epochs"), ("epoch = 3", "epoch"), ("radius = 'big'", "radius"), ("[augment]\nzoom = 2", "zoom")],
)
def test_a_wrong_configuration_names_the_key(tmp_path, text, named):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(TrainingError, match=named):
        TrainConfig.read(file)


def test_a_configuration_that_is_not_toml_is_refused(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text("epochs: 3")
    with pytest.raises(TrainingError, match="TOML"):
        TrainConfig.read(file)


def test_step_schedule_divides_the_rate_by_ten_for_the_last_tenth():
    config = TrainConfig(learning_rate=1.0)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates == [1.0] * 90 + [0.1] * 10


def test_cosine_schedule_warms_up_then_falls_to_a_hundredth():
    config = TrainConfig(learning_rate=1.0, schedule="cosine", warmup_steps=4)
    rates = [learning_rate_at(step, 104, config) for step in range(105)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(later <= earlier for earlier, later in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epoch": 3}, r"there is no epoch; did you mean epochs\? Known are augment, .*workers\."),
        (
            {"crops": {"windows": "whole"}},
            r"there is no crops\.windows; did you mean crops\.window\? Known are centred, ",
        ),
        ({"saccade_loss": {"peaks": "some"}}, r"saccade_loss\.peaks is 'some'; it should be 'counted' or 'all'\."),
        ({"augment": {"flips": 0.5}}, r"there is no augment\.flips; did you mean augment\.flip\? Known are border, "),
        ({"nonsense": 1}, r"there is no nonsense; Known are"),
        ({"epochs": 0}, r"epochs is 0; it should be greater than or equal to 1\.$"),
        ({"augment": {"flip": 2}}, r"augment\.flip is 2; it should be less than or equal to 1\.$"),
        ({"radius": "big"}, r"radius is 'big'; it should be 'object', 'fixed' or 'none'\.$"),
        ({"preset": 10**400}, r"preset is 1000.*it should be a valid string"),
    ],
)
def test_a_wrong_setting_is_explained_in_a_sentence_with_the_other_keys_only_where_the_key_is_unknown(values, said):
    with pytest.raises(TrainingError, match=said) as refused:
        TrainConfig.read(**values)
    assert len(str(refused.value)) < 700


def test_a_configuration_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="TOML"):
        TrainConfig.read(file)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_experiment_is_a_configuration(file):
    config = TrainConfig.read(file)
    assert config.preset in PRESETS


def test_the_published_training_of_a_saccade_has_every_official_option():
    (file,) = [file for file in EXPERIMENTS if file.stem == "saccade_official"]
    config = TrainConfig.read(file)
    assert config.saccade_loss == SaccadeLossConfig(peaks="all", attention="centres", stacks="twice")
    assert config.crops == CropConfig(views=0, window="official")
    assert round(config.epochs * 118_287 / config.batch_size, -4) == 500_000
