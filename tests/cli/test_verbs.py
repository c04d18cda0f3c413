"""What the verbs do, on a model that finds the bright box and on pictures made here."""

import json
import shutil

import cv2
import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx
from typer.testing import CliRunner

from cornernet.cli import app


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def test_shapes_writes_a_data_set_that_the_other_verbs_read(tmp_path):
    result = run("shapes", tmp_path / "shapes", "--train", 2, "--val", 3, "--size", "64x96")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "shapes/annotations/instances_val.json").read_text())
    assert len(content["images"]) == 3
    assert max(image["width"] for image in content["images"]) <= 96


def test_predict_writes_pictures_and_json_lines(model, data, tmp_path):
    result = run("predict", model, data / "images", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 objects in 3 of 3 pictures" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out/detections.jsonl").read_text().splitlines()]
    assert [len(line["detections"]) for line in lines] == [1, 1, 0]
    assert lines[0]["detections"][0]["box"] == pytest.approx([10, 20, 60, 90], abs=2)
    drawn = cv2.imread(str(tmp_path / "out/1.jpg"))
    assert drawn.shape == (100, 120, 3)
    assert np.ptp(drawn, axis=2).max() > 60  # the box is coloured, the picture was grey


def test_predict_goes_on_after_an_unreadable_picture_and_lists_it_at_the_end(model, data, tmp_path):
    (data / "images/2.png").write_bytes(b"")
    result = run("predict", model, data / "images", tmp_path / "nowhere.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "2 of 4 pictures" in result.stderr
    assert "2.png" in result.stderr and "nowhere.jpg" in result.stderr
    errors = [json.loads(line)["error"] for line in (tmp_path / "out/detections.jsonl").read_text().splitlines()]
    assert [error is None for error in errors] == [True, False, True, False]


def test_predict_fails_if_no_picture_could_be_used(model, tmp_path):
    result = run("predict", model, tmp_path / "nowhere.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "nowhere.jpg" in result.stderr


def test_predict_can_write_json_lines_only(model, data, tmp_path):
    result = run("predict", model, data / "images/1.png", "--json", tmp_path / "a/b.jsonl")
    assert result.exit_code == 0
    assert json.loads((tmp_path / "a/b.jsonl").read_text())["path"].endswith("1.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "data", "model.onnx"]


def test_predict_needs_somewhere_to_write(model, data):
    assert run("predict", model, data / "images").exit_code == 2


def test_predict_keeps_pictures_of_one_name_apart(model, data, tmp_path):
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other/1.jpg"), picture(50, 50))
    result = run("predict", model, data / "images/1.png", tmp_path / "other/1.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"1.jpg", "1-2.jpg"}


@pytest.mark.parametrize(
    "option",
    [
        ("--size", "12y"),
        ("--scales", "0"),
        ("--scales", "1e9"),
        ("--resize", "half"),
        ("--resize", "original", "--size", "128x128"),
        ("--protocol", "mine"),
        ("--threshold", "50"),
        ("--threshold", "-3"),
        ("",),
    ],
    ids=" ".join,
)
def test_predict_refuses_impossible_values_as_usage_errors(model, data, tmp_path, option):
    assert run("predict", model, data / "images", "-o", tmp_path / "out", *option).exit_code == 2


def test_predict_says_that_a_file_is_no_model(data, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    result = run("predict", tmp_path / "model.onnx", data / "images", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "model.onnx" in result.stderr and "Traceback" not in result.stderr


def test_evaluate_prints_the_numbers_and_leaves_them_as_json(model, data, tmp_path):
    result = run("evaluate", model, data, "--split", "val", "--results", tmp_path / "results.json")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "model.onnx.data.val.json").read_text())
    assert content["values"]["AP50"] == pytest.approx(1)
    assert content["per_class"][0]["name"] == "bright"
    assert "AP50 1.000" in result.stdout and "bright" in result.stdout
    assert "other" in result.stderr  # the model's class that the data set lacks
    entries = json.loads((tmp_path / "results.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(1, 7), (2, 7)]


def test_evaluate_by_the_official_protocol_rounds_its_results(model, data, tmp_path):
    result = run(
        "evaluate",
        model,
        data,
        "--protocol",
        "official",
        "--results",
        tmp_path / "r.json",
        "--json",
        tmp_path / "s.json",
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "s.json").read_text())["settings"]["protocol"] == "official"
    for entry in json.loads((tmp_path / "r.json").read_text()):
        assert all(round(value, 2) == value for value in (*entry["bbox"], entry["score"]))


def test_evaluate_runs_the_official_multi_scale_test_with_merging(model, data, tmp_path):
    words = ("--protocol", "official", "--scales", "0.5,1,1.5", "--merge", "--json", tmp_path / "s.json")
    result = run("evaluate", model, data, *words)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "s.json").read_text())["settings"]
    assert (settings["scales"], settings["merge_exponent"]) == ([0.5, 1, 1.5], 10)


def test_evaluate_names_the_splits_there_are(model, data):
    result = run("evaluate", model, data, "--split", "test")
    assert result.exit_code == 1
    assert "instances_val.json" in result.stderr


def test_benchmark_writes_table_json_and_chart(model, data, tmp_path):
    other = write_onnx(tmp_path / "other.onnx", make_card(train_size=(128, 128), precision="fp16"))
    words = ("--batch", "1,2", "--repeats", 2, "--data", data, "--images", data / "images", "--no-cold-start")
    result = run("benchmark", model, other, *words, "-o", tmp_path / "bench")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "bench/benchmark.json").read_text())
    assert [(row["model"], row["batch"]) for row in content["rows"]] == [
        ("model.onnx", 1), ("other.onnx", 1), ("model.onnx", 2), ("other.onnx", 2),
    ]  # fmt: skip
    assert content["models"][0]["accuracy"]["AP50"] == pytest.approx(1)
    assert "AP50" in result.stdout and "fp16" in result.stdout and "post-processing of 2000" in result.stdout
    chart = cv2.imread(str(tmp_path / "bench/benchmark.png"))
    assert min(chart.shape[:2]) > 300
    assert "in place of an earlier one" not in result.output
    assert "in place of an earlier one" in run("benchmark", model, *words, "-o", tmp_path / "bench").output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network of the smallest preset that has learnt nothing."""
    torch = pytest.importorskip("torch", reason="extra `train` is not installed")
    from cornernet.trainer.network.checkpoint import save_checkpoint
    from cornernet.trainer.network.corner_net import CornerNet
    from cornernet.trainer.network.presets import preset

    torch.manual_seed(0)
    network = CornerNet(preset("tiny", 2)).eval()
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    legal = {"stride": network.config.stride, "size_multiple": network.config.size_multiple, "train_size": (64, 64)}
    save_checkpoint(path, network, make_card(**legal))
    return path


def test_a_checkpoint_is_evaluated_in_torch_without_export(checkpoint, data, tmp_path):
    result = run("evaluate", checkpoint, data, "--json", tmp_path / "stats.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "stats.json").read_text())["images"] == 3


def test_a_checkpoint_and_an_onnx_file_share_a_benchmark(checkpoint, model, tmp_path):
    words = ("--batch", 1, "--repeats", 1, "--no-cold-start", "--threads", 1, "-o", tmp_path)
    result = run("benchmark", checkpoint, model, "--size", "128x128", *words)
    assert result.exit_code == 0, result.output
    runtimes = [entry["runtime"] for entry in json.loads((tmp_path / "benchmark.json").read_text())["models"]]
    assert runtimes[0] == "PyTorch" and runtimes[1].startswith("ONNX Runtime")


def test_torch_compile_is_a_row_of_its_own(checkpoint, tmp_path, monkeypatch):
    import torch

    ran = []  # what a compiler gives is what is timed; that it gives the same is shown in test_torch_backend.py

    def compiled(network):
        return lambda *images: ran.append(network) or network(*images)

    monkeypatch.setattr(torch, "compile", compiled)
    words = ("--batch", 1, "--repeats", 1, "--no-cold-start", "--torch-compile", "-o", tmp_path)
    result = run("benchmark", checkpoint, "--size", "128x128", *words)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert [entry["runtime"] for entry in content["models"]] == ["PyTorch", "PyTorch compiled"]
    assert len(ran) > 2 and len(set(map(id, ran))) == 1


def test_export_hands_its_options_on_and_prints_the_comparison(checkpoint, tmp_path, monkeypatch):
    from cornernet.export import onnx_export, parity

    asked = {}

    def export_onnx(network, card, output, **options):
        asked.update(options, classes=network.config.num_classes)
        compared = parity.Parity(
            ((1, 64, 64),), {"tl_heatmap": parity.Difference(2e-6, 1e-4)}, boxes=7, boxes_found=1.0
        )
        return onnx_export.ExportReport(output, card, 4_000_000, 170, 2.5, compared)

    monkeypatch.setattr(onnx_export, "export_onnx", export_onnx)
    options = ("--precision", "fp16", "--max-size", 256, "--num-dets", 50, "--outputs", "heads", "--inline")
    result = run("export", checkpoint, "-o", tmp_path / "new" / "m.onnx", *options)
    assert result.exit_code == 0, result.output
    assert asked == {
        "classes": 2, "precision": "fp16", "max_size": 256, "num_dets": 50, "outputs": "heads", "inline": True,
    }  # fmt: skip
    assert (tmp_path / "new").is_dir()
    for words in ("4.0 MB", "170 nodes", "1x64x64", "tl_heatmap", "2.0e-06", "100.0% of 7"):
        assert words in result.stdout


def test_export_of_a_file_that_is_no_checkpoint_is_one_line(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    result = run("export", tmp_path / "w.safetensors", "-o", tmp_path / "m.onnx")
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.onnx").exists()


def test_help_shows_units_in_brackets_as_they_are():
    assert "HEIGHTxWIDTH or one side [px]" in " ".join(run("predict", "--help").output.replace("│", " ").split())
    assert "[cells]" in run("analyse", "quadrants", "--help").output


@pytest.mark.parametrize("name", ["model.engine", "model.plan", "model.safetensors"])
def test_export_writes_onnx_under_no_other_name(model, tmp_path, name):
    result = run("export", model, "-o", tmp_path / name)
    assert result.exit_code == 2 and "cornernet build model.onnx" in result.stderr
    assert not (tmp_path / name).exists() or name == model.name


def test_evaluations_of_two_data_sets_lie_beside_each_other(model, data, tmp_path):
    shutil.copytree(data, tmp_path / "second")
    for folder in (data, tmp_path / "second"):
        assert run("evaluate", model, folder).exit_code == 0
    assert {path.name for path in tmp_path.glob("*.val.json")} == {
        "model.onnx.data.val.json",
        "model.onnx.second.val.json",
    }
