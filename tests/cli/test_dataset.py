"""`cornernet dataset`, and the verbs that take a data set, on every layout."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_layouts import NAMES, TRUTH, WRITERS, write_coco, write_picture, write_voc, write_yolo
from fake_backends import make_card, write_onnx
from typer.testing import CliRunner

from cornernet.cli import app
from cornernet.engine.results.picture_file import is_marked


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


@pytest.fixture
def model(tmp_path):
    card = make_card(class_names=NAMES, category_ids=(5, 9), train_size=(128, 256))
    return write_onnx(tmp_path / "model.onnx", card)


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout_is_surveyed_and_scored(layout, model, tmp_path):
    data = WRITERS[layout](tmp_path / "data")
    result = run("dataset", data, "--size", 128, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "report/dataset.json").read_text())
    assert content["dataset"] == "data" and content["size"] == [128, 128]
    assert [(split["pictures"], split["objects"]) for split in content["splits"].values()] == [(3, 3), (2, 1)]
    assert [split["classes"] for split in content["splits"].values()] == [{"cat": 1, "no": 2}, {"cat": 1, "no": 0}]
    result = run("evaluate", model, data, "--split", "val", "--json", tmp_path / "score.json")
    assert result.exit_code == 0, result.output
    assert "2 pictures, 1 objects" in result.stdout


def test_the_folder_has_a_page_numbers_and_two_sheets(tmp_path):
    report = tmp_path / "report"
    result = run("dataset", write_voc(tmp_path / "data"), "-o", report, "--size", "96x128", "--split", "train")
    assert result.exit_code == 0, result.output
    assert {file.name for file in report.iterdir()} == {"dataset.html", "dataset.json", "samples.jpg", "augmented.jpg"}
    samples, augmented = (cv2.imread(str(report / f"{name}.jpg")) for name in ("samples", "augmented"))
    assert samples.shape[1] == 2 * 300 and augmented.shape[1] == 4 * 300
    assert is_marked(report / "samples.jpg")
    assert (report / "dataset.html").read_text().count("data:image/jpeg;base64,") == 2
    assert "val" not in json.loads((report / "dataset.json").read_text())["splits"]
    # A second look may take its place; somebody else's files may not be taken.
    assert run("dataset", tmp_path / "data", "-o", report).exit_code == 0
    for name in ("dataset.html", "samples.jpg", "dataset.json"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text("my own")
        result = run("dataset", tmp_path / "data", "-o", tmp_path / "mine")
        assert result.exit_code == 1 and "was not made by this command" in result.stderr
        (tmp_path / "mine" / name).unlink()


def test_the_canvas_is_that_of_the_option_the_file_or_the_model(model, tmp_path):
    data = write_yolo(tmp_path / "data")
    (tmp_path / "run.toml").write_text("size = [64, 32]\n")
    for words, said in (
        ((), "511x511"),
        (("--model", model), "128x256"),
        (("--config", tmp_path / "run.toml", "--model", model), "64x32"),
        (("--size", 40, "--model", model), "40x40"),
    ):
        result = run("dataset", data, *words)
        assert result.exit_code == 0 and f"on a canvas of {said} px" in result.stdout, result.output


def test_pictures_are_decoded_unless_told_otherwise(tmp_path):
    data = write_coco(tmp_path / "data")
    picture = data / "images/train/a.jpg"
    picture.write_bytes(picture.read_bytes()[:-300])
    assert "1 pictures cannot be used, such as" in run("dataset", data).stdout
    assert "cannot be used" not in run("dataset", data, "--no-read").stdout


def test_what_is_wrong_is_shown_grouped(tmp_path):
    data = write_coco(tmp_path / "data")
    file = data / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    for number in range(9):
        content["annotations"].append(content["annotations"][0] | {"id": 10 + number, "bbox": [50, 50, 80, 60]})
    file.write_text(json.dumps(content))
    result = run("dataset", data)
    assert "9 times the same; are they x1 y1 x2 y2?" in " ".join(result.stdout.split())


def test_many_classes_are_cut_in_the_terminal_only(tmp_path):
    write_picture(tmp_path / "data/images/train/a.jpg", (40, 40))
    names = "\n".join(f"  {number}: kind {number}" for number in range(45))
    (tmp_path / "data/data.yaml").write_text(f"train: images/train\nnames:\n{names}\n")
    result = run("dataset", tmp_path / "data", "-o", tmp_path / "report")
    assert "kind 29" in result.stdout and "kind 30" not in result.stdout and "and 15 more" in result.stdout
    assert "kind 44" in (tmp_path / "report/dataset.html").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "dataset data",
        "convert data -o new",
        "evaluate model.onnx data",
        pytest.param("train data -o run", marks=pytest.mark.slow),
        pytest.param("analyse iou model.onnx data", marks=pytest.mark.slow),
        pytest.param("analyse ablations data -o ablations", marks=pytest.mark.slow),
        pytest.param("benchmark model.onnx --data data", marks=pytest.mark.slow),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_in_a_line_by_every_verb(line, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/readme.txt").touch()
    result = run(*line.split())
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1, result.output
    assert "no data set in a known layout; there is readme.txt. Known are COCO:" in result.stderr


def test_an_augmented_sheet_shows_what_augment_gives(tmp_path):
    from cornernet.engine.datasets.layouts import load_dataset
    from cornernet.engine.model_card import ModelCard
    from cornernet.trainer.data.augment import AugmentConfig, augment
    from cornernet.trainer.data.sample_sheets import TILE_PX, _as_picture, augmented_sheet

    data = load_dataset(write_coco(tmp_path), "train")
    plain = AugmentConfig(scales=(1.0,), centre=True, flip=0, colour=0, lighting=0)
    for order in ("bgr", "rgb"):
        card = ModelCard(name="x", class_names=NAMES, category_ids=(1, 2), channel_order=order, fill=(9, 0, 200))
        picture = cv2.imread(str(data.samples[2].path))
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        view = augment(picture, *empty, np.random.default_rng(0), size=(48, 90), config=plain, card=card)
        np.testing.assert_array_equal(_as_picture(view, card), picture)
    sheet = augmented_sheet(data.samples, NAMES, card, size=(64, 64), config=plain, most=2)
    assert sheet.shape == (2 * (TILE_PX + 20 + 12), 4 * (TILE_PX + 12), 3)
    assert augmented_sheet((), NAMES, card, size=(64, 64), config=plain) is None


@pytest.mark.slow
def test_training_is_the_same_whatever_the_layout_and_begins_with_a_survey(tmp_path):
    losses = {}
    for name, write in (("coco", write_coco), ("voc", write_voc)):
        data = write(tmp_path / name)
        options = ("--preset", "tiny", "--size", "64x64", "--epochs", "2", "--batch-size", "3")
        result = run("train", data, "-o", tmp_path / f"run-{name}", *options, "--set", "log_every=1")
        assert result.exit_code == 0, result.output
        assert "train: 3 pictures, 3 objects (2 no, 1 cat); 1 without" in result.stderr
        assert "val: 2 pictures, 1 objects" in result.stderr and "warning: " in result.stderr
        rows = [json.loads(line) for line in (tmp_path / f"run-{name}/metrics.jsonl").read_text().splitlines()]
        losses[name] = [row["loss"] for row in rows if "loss" in row]
    assert losses["coco"] == losses["voc"] and len(losses["coco"]) == 2
    assert len(TRUTH["train"]) == 3
