"""Nothing of the user's is overwritten or deleted, and what cannot be written is found before the work."""

import json
import os

import cv2
import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx
from typer.testing import CliRunner

from cornernet import outputs
from cornernet.cli import app
from cornernet.engine.errors import OutputError
from cornernet.engine.results.picture_file import is_marked, write_picture


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def refused(result, *words):
    """One sentence on stderr, exit code 1."""
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    return True


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128)))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), picture(64, 64, (10, 20, 40, 50)))
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("way", ["the same", "a dot", "a link"])
def test_annotated_copies_never_go_among_the_pictures_that_are_read(model, photos, tmp_path, monkeypatch, way):
    monkeypatch.chdir(photos)
    (tmp_path / "link").symlink_to(photos)
    before = contents(photos)
    output = {"the same": photos, "a dot": ".", "a link": tmp_path / "link"}[way]
    assert refused(run("predict", model, photos, "-o", output), "holds pictures that are read")
    assert contents(photos) == before


@pytest.mark.parametrize("make", [os.symlink, os.link])
def test_a_link_to_a_source_in_the_output_folder_is_left_alone(model, photos, tmp_path, make):
    found = tmp_path / "found"
    found.mkdir()
    make(photos / "a.jpg", found / "a.jpg")
    before = contents(photos)
    result = run("predict", model, photos, "-o", found)
    assert result.exit_code == 0, result.output
    assert contents(photos) == before
    assert {path.name for path in found.iterdir()} == {"a.jpg", "a-2.jpg", "detections.jsonl"}


def test_a_picture_that_predict_did_not_write_keeps_its_name_and_its_own_are_replaced(model, photos, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    cv2.imwrite(str(found / "a.jpg"), picture(20, 20))
    mine = (found / "a.jpg").read_bytes()
    for _ in range(2):
        assert run("predict", model, photos, "-o", found).exit_code == 0
        assert {path.name for path in found.iterdir()} == {"a.jpg", "a-2.jpg", "detections.jsonl"}
    assert (found / "a.jpg").read_bytes() == mine


def test_an_annotated_picture_that_is_read_again_is_not_its_own_copy(model, photos, tmp_path):
    assert run("predict", model, photos, "-o", tmp_path / "one").exit_code == 0
    (tmp_path / "two").mkdir()
    os.link(tmp_path / "one/a.jpg", tmp_path / "two/a.jpg")
    before = (tmp_path / "one/a.jpg").read_bytes()
    assert run("predict", model, tmp_path / "one/a.jpg", "-o", tmp_path / "two").exit_code == 0
    assert (tmp_path / "one/a.jpg").read_bytes() == before


def test_predict_does_not_write_its_lines_over_the_model_or_a_picture(model, photos):
    for file in (model, photos / "a.jpg"):
        before = file.read_bytes()
        assert refused(run("predict", model, photos, "--json", file), file.name, "is an input")
        assert file.read_bytes() == before


def test_lines_go_over_earlier_lines_but_over_no_other_file(model, photos, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("years of work\n")
    assert refused(run("predict", model, photos, "--json", notes), "notes.txt", "was not made by this command")
    assert notes.read_text() == "years of work\n"
    for _ in range(2):
        assert run("predict", model, photos, "--json", tmp_path / "lines.jsonl").exit_code == 0
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == 1


@pytest.fixture
def data(tmp_path, photos):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}],
        "categories": [{"id": 7, "name": "bright"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 30], "area": 900}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val.json").write_text(json.dumps(content))
    return tmp_path


def evaluate(model, data, *words):
    return run("evaluate", model, data, "--images", data / "photos", *words)


@pytest.mark.parametrize("option", ["--json", "--results"])
def test_evaluate_writes_over_neither_input_nor_foreign_file(model, data, option, monkeypatch):
    monkeypatch.setattr("cornernet.engine.scoring.evaluation.evaluate", None)  # nothing may run
    truth = data / "annotations/instances_val.json"
    foreign = data / "foreign.json"
    foreign.write_text('{"mine": 1}')
    for file, words in ((truth, "is an input"), (model, "is an input"), (foreign, "not made by this command")):
        before = file.read_bytes()
        assert refused(evaluate(model, data, option, file), file.name, words)
        assert file.read_bytes() == before


def test_evaluate_finds_an_impossible_output_before_the_work(model, data, monkeypatch):
    monkeypatch.setattr("cornernet.engine.scoring.evaluation.evaluate", None)
    assert refused(evaluate(model, data, "--results", model / "results.json"), "cannot be written")
    assert refused(evaluate(model, data, "--results", data / "photos"), "is a folder")
    assert refused(evaluate(model, data, "--json", data / ("n" * 300 + ".json")), "cannot be written")


def test_evaluate_prints_before_it_writes(model, data, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "write_text", full)
    result = evaluate(model, data, "--json", data / "stats.json")
    assert result.exit_code == 1
    assert "AP50 1.000" in result.stdout


def test_evaluate_replaces_its_own_files(model, data):
    words = ("--json", data / "stats.json", "--results", data / "results.json")
    for _ in range(2):
        result = evaluate(model, data, *words)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("verb", ["export", "import", "build"])
def test_a_model_is_never_written_over_its_source(model, tmp_path, verb):
    (tmp_path / "link").hardlink_to(model)
    before = model.read_bytes()
    for output in (model, tmp_path / "link"):
        assert refused(run(verb, model, "-o", output), "is an input")
    assert model.read_bytes() == before


@pytest.mark.parametrize("verb", ["export", "import", "build"])
def test_a_model_is_never_written_over_somebody_elses_file(model, tmp_path, verb):
    foreign = tmp_path / "thesis.docx"
    foreign.write_bytes(b"chapter one")
    assert refused(run(verb, model, "-o", foreign), "thesis.docx", "was not made by this command")
    assert foreign.read_bytes() == b"chapter one"


def test_training_does_not_write_over_the_weights_it_starts_from(tmp_path):
    pytest.importorskip("torch", reason="extra `train` is not installed")
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"weights")
    assert refused(run("train", tmp_path / "data", "-o", tmp_path, "--init", weights), "is an input")


def test_benchmark_and_analyse_leave_files_of_others_alone(model, data):
    (data / "benchmark.png").write_bytes(b"a chart of mine")
    assert refused(run("benchmark", model, "-o", data), "benchmark.png", "was not made")
    (data / "iou.json").write_text('{"mine": 1}')
    assert refused(run("analyse", "iou", model, data, "-o", data), "iou.json", "was not made")
    assert (data / "benchmark.png").read_bytes() == b"a chart of mine"


def test_quickstart_refuses_a_folder_with_something_of_yours(tmp_path):
    pytest.importorskip("torch", reason="extra `train` is not installed")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("chapter one")
    assert refused(run("quickstart", "-o", tmp_path), "run", "no quickstart made it")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "chapter one"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_quickstart_deletes_only_what_a_run_leaves(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="extra `train` is not installed")
    from cornernet import quickstart

    class StopHere(Exception):
        pass

    def stop(*arguments):
        raise StopHere

    monkeypatch.setattr(quickstart, "generate_shapes", lambda folder, **options: folder)
    monkeypatch.setattr(quickstart, "load_coco", lambda *arguments: None)
    monkeypatch.setattr(quickstart, "train", stop)
    (tmp_path / "run").mkdir()
    (tmp_path / quickstart.MARK).touch()
    for name in ("last.pt", "thesis.txt"):
        (tmp_path / "run" / name).touch()
    with pytest.raises(StopHere):
        quickstart.quickstart(tmp_path, say=lambda line: None)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_every_file_that_quickstart_deletes_is_one_that_training_writes(root):
    pytest.importorskip("torch", reason="extra `train` is not installed")
    from cornernet import quickstart

    source = "".join(file.read_text(encoding="utf-8") for file in (root / "trainer" / "loop").glob("*.py"))
    assert [name for name in quickstart.OF_A_RUN if f'"{name}"' not in source] == []


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "bücher-猫.png"])
def test_our_pictures_say_so_and_are_still_the_picture(tmp_path, name):
    image = np.full((20, 30, 3), 77, np.uint8)
    write_picture(tmp_path / name, image)
    decoded = cv2.imdecode(np.frombuffer((tmp_path / name).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded, image)
    assert is_marked(tmp_path / name)
    (tmp_path / "other").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    assert not is_marked(tmp_path / "other")


def test_a_picture_that_no_jpeg_can_hold_is_a_typed_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be encoded"):
        write_picture(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))


def test_a_device_is_written_to_and_stays_a_device(model, data):
    assert evaluate(model, data, "--json", "/dev/null").exit_code == 0
    assert not os.path.isfile("/dev/null")  # noqa: PTH113
