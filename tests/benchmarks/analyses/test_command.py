"""`cornernet analyse`: each analysis is one command that leaves a table, JSON and a picture."""

from pathlib import Path

import cv2
import pytest
from analysed_scene import CARD, random_network
from typer.testing import CliRunner

from cornernet.analysis_output import names_of
from cornernet.benchmarks.analyses.analyses_report import Report
from cornernet.cli import app
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.network.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a data set, a checkpoint with and one without corner pooling."""
    folder = tmp_path_factory.mktemp("analyse")
    generate_shapes(folder / "shapes", train=4, val=3, seed=0, size=(64, 64))
    for name, pooling in (("with", True), ("without", False)):
        network = random_network(corner_pooling=pooling)
        save_checkpoint(folder / f"{name}.safetensors", network.module, CARD)
    return folder


def analyse(place, monkeypatch, *arguments, code=0):
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, ["analyse", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "columns", "pictures"),
    [
        (("iou", "with.safetensors", "shapes", "--against", "without.safetensors"), "AP90", ["iou.png"]),
        (("ground-truth", "with.safetensors", "shapes"), "APs", ["ground-truth.png"]),
        (
            ("quadrants", "with.safetensors", "shapes", "--against", "without.safetensors"),
            "improvement",
            ["quadrants.png"],
        ),
        (
            ("errors", "with.safetensors", "shapes", "--threshold", "0.05"),
            "number",
            ["errors.png", "errors-examples.png"],
        ),
    ],
)
def test_an_analysis_prints_its_table_and_writes_json_and_pictures(place, monkeypatch, arguments, columns, pictures):
    output = analyse(place, monkeypatch, *arguments, "-o", f"out-{arguments[0]}")
    assert columns in output
    report = Report.read(place / f"out-{arguments[0]}" / f"{arguments[0]}.json")
    assert any(columns in table.columns for table in report.tables)
    assert report.settings["dataset"] == "shapes" and report.settings["images"] == 3
    for picture in pictures:
        assert cv2.imread(str(place / f"out-{arguments[0]}" / picture)) is not None


@pytest.mark.parametrize(
    ("against", "model", "names"),
    [
        (None, "runs/best.safetensors", ["best"]),
        ("without.safetensors", "with.safetensors", ["without", "with"]),
        ("runs/plain/seed-1/last.safetensors", "runs/full/seed-1/last.safetensors", ["plain", "full"]),
        ("last.safetensors", "runs/last.safetensors", ["last.safetensors", "runs/last.safetensors"]),
    ],
)
def test_models_get_names_that_tell_them_apart(against, model, names):
    named = names_of(Path(model), Path(against) if against else None)
    assert list(named) == names
    assert list(named.values()) == [Path(path) for path in (against, model) if path]


def test_pictures_of_images(place, monkeypatch):
    image = min(file for file in (place / "shapes" / "images").rglob("*") if file.is_file())
    name = str(image.relative_to(place))
    assert "pooling.png" in analyse(place, monkeypatch, "pictures", "with.safetensors", name, "-o", "p")
    assert "pooling.png" not in analyse(place, monkeypatch, "pictures", "without.safetensors", name, "-o", "q")
    assert {file.name for file in (place / "p").iterdir()} == {
        f"{image.stem}-heatmaps.png",
        f"{image.stem}-pooling.png",
    }


def test_ablations_from_the_command_line(place, monkeypatch):
    budget = ["--size", "64x64", "--epochs", "1", "--batch-size", "4", "--set", "workers=0", "--device", "cpu"]
    output = analyse(place, monkeypatch, "ablations", "shapes", "-o", "abl", "--only", "radius_none", *budget)
    assert "w/o reducing penalty" in output
    report = Report.read(place / "abl" / "ablations.json")
    assert report.settings["epochs"] == 1 and report.settings["train_images"] == 4 and report.settings["steps"] == 1
    assert (place / "abl" / "radius_none" / "seed-317" / "last.safetensors").exists()
    assert cv2.imread(str(place / "abl" / "ablations.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ground-truth", "missing.safetensors", "shapes"), 1, "no such file"),
        (("iou", "with.safetensors", "shapes", "--split", "test"), 1, "instances_test.json"),
        (("iou", "with.safetensors", "shapes", "--resize", "large"), 2, "'large' is not one of original, fit"),
        (("ablations", "shapes", "-o", "x", "--only", "everything"), 2, "no_corner_pooling"),
        (("ablations", "shapes", "-o", "x", "--set", "radius=fixed"), 1, "what the ablations vary"),
    ],
)
def test_wrong_usage_is_one_clear_line(place, monkeypatch, arguments, code, message):
    output = analyse(place, monkeypatch, *arguments, code=code)
    assert message in " ".join(output.replace("│", " ").split())
