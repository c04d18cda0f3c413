"""The pictures that int8 is calibrated on: drawn from the whole folder, and refused in words."""

import pytest

from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import ModelCard
from cornernet.export.calibration import calibration_canvases, find_pictures

CARD = ModelCard(name="any", class_names=("a",), category_ids=(1,))


def test_many_pictures_are_drawn_evenly(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.jpg").touch()
    assert [path.stem for path in find_pictures(tmp_path, most=4)] == ["0", "2", "5", "7"]


@pytest.mark.parametrize(
    ("name", "message"), [("gone", "no such folder"), ("empty", "no picture in it"), ("broken", "none of 1 pictures")]
)
def test_nothing_to_calibrate_on_is_an_export_error(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ExportError, match=message):
        calibration_canvases(find_pictures(tmp_path / name), CARD)
