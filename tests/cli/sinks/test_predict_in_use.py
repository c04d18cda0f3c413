"""predict as it is used every day: classes, thresholds, tables, labels, crops, resume, shards, videos."""

import csv
import json
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from daily_use import BOX, done, lines_of, model, photos, run
from fake_backends import make_card, picture, write_onnx

from cornernet.engine.reading.video import Video
from cornernet.inputs import in_shard
from cornernet.sinks.video_file import marked_video

__all__ = ["model", "photos"]


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for number in range(7):
        writer.write(picture(96, 128, (10 + number, 20, 60, 90)))
    writer.release()
    return path


def test_classes_and_thresholds_of_classes(model, photos, tmp_path):
    for words, count in (
        ((), 3),
        (("--classes", "bright"), 3),
        (("--classes", "other"), 0),
        (("--threshold", "other=1,bright=.5"), 3),
    ):
        done("predict", model, photos, "--json", tmp_path / "a.jsonl", *words)
        assert sum(len(line["detections"]) for line in lines_of(tmp_path / "a.jsonl")) == count
    result = run("predict", model, photos, "--json", tmp_path / "a.jsonl", "--classes", "cat")
    assert result.exit_code == 1 and "cat: no class of this model; it knows bright, other" in result.stderr
    for threshold in ("2", "a", "bright=", "bright=.5,.3"):
        assert run("predict", model, photos, "--json", tmp_path / "a.jsonl", "--threshold", threshold).exit_code == 2


def test_the_thresholds_that_evaluate_wrote_are_predicts_default(tmp_path, photos):
    model = write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128), score_thresholds=(1.0, 0.1)))
    cv2.imwrite(str(photos / "grey.png"), picture(100, 120, BOX, value=200))
    result = done("predict", model, photos / "grey.png", "--json", tmp_path / "a.jsonl")
    assert "0 objects" in result.stderr
    assert (
        "1 objects"
        in done("predict", model, photos / "grey.png", "--json", tmp_path / "b.jsonl", "--threshold", ".3").stderr
    )


def test_coco_csv_yolo_and_crops_say_the_same_as_the_lines(model, photos, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # again over its own files
        done("predict", model, photos, "-o", out, "--save", "coco,csv,yolo,crops")
    lines = lines_of(out / "detections.jsonl")
    boxes = {line["path"]: line["detections"][0]["box"] for line in lines if line["detections"]}
    coco = json.loads((out / "coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    assert len(names) == 6 and coco["categories"] == [{"id": 7, "name": "bright"}, {"id": 9, "name": "other"}]
    for entry in coco["annotations"]:
        x, y, width, height = entry["bbox"]
        assert [x, y, x + width, y + height] == pytest.approx(boxes[names[entry["image_id"]]], abs=0.02)
        assert entry["category_id"] == 7 and entry["area"] == pytest.approx(width * height, abs=0.1)
    with (out / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"]: [float(row[side]) for side in ("x1", "y1", "x2", "y2")] for row in rows} == boxes
    assert (out / "labels" / "classes.txt").read_text() == "bright\nother\n"
    assert (out / "labels" / "0.txt").read_text() == ""
    label, *numbers = (out / "labels" / "1.txt").read_text().split()
    x, y, width, height = np.array(numbers, float) * [120, 100, 120, 100]
    found = next(box for path, box in boxes.items() if path.endswith("1.png"))
    assert [x - width / 2, y - height / 2, x + width / 2, y + height / 2] == pytest.approx(found, abs=0.02)
    assert label == "0" and len(list((out / "labels").glob("*.txt"))) == 7
    crops = sorted((out / "crops" / "bright").iterdir())
    assert [path.name for path in crops] == ["1-0.jpg", "3-0.jpg", "5-0.jpg"]
    assert cv2.imread(str(crops[0])).mean() > 240


@pytest.mark.parametrize("folder", ["labels", "crops"])
def test_labels_and_crops_never_go_among_files_of_others(model, photos, tmp_path, folder):
    (tmp_path / "out" / folder).mkdir(parents=True)
    (tmp_path / "out" / folder / "1.txt").write_text("mine")
    result = run("predict", model, photos, "-o", tmp_path / "out", "--save", "yolo,crops")
    assert result.exit_code == 1 and "did not make" in result.stderr
    assert (tmp_path / "out" / folder / "1.txt").read_text() == "mine"
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / folder]


def test_folders_in_folders_are_searched_on_request(model, photos, tmp_path):
    done("predict", model, photos, "--json", tmp_path / "a.jsonl", "--recursive")
    assert sorted(line["path"][-5:] for line in lines_of(tmp_path / "a.jsonl")) == [
        f"{n}.png" for n in (0, 1, 2, 3, 4, 5, 7)
    ]


def test_a_run_goes_on_where_it_was_killed_and_loses_and_doubles_nothing(model, photos, tmp_path):
    out = tmp_path / "out"
    words = ("predict", model, photos, "-o", out, "--save", "coco,csv")
    done(*words)
    whole = {name: (out / name).read_text() for name in ("detections.jsonl", "coco.json", "detections.csv")}
    kept = whole["detections.jsonl"].splitlines(keepends=True)
    (out / "detections.jsonl").write_text("".join(kept[:3]) + kept[3][:20])  # killed in the middle of a line
    result = done(*words, "--resume")
    assert "3 pictures were done before" in result.stderr and "3 of 3 pictures" in result.stderr
    assert {name: (out / name).read_text() for name in whole} == whole
    assert "6 pictures were done before" in done(*words, "--resume").stderr
    assert {name: (out / name).read_text() for name in whole} == whole


def test_pictures_that_failed_are_tried_again(model, photos, tmp_path):
    good = (photos / "2.png").read_bytes()
    words = ("predict", model, photos, "--json", tmp_path / "a.jsonl")
    (photos / "2.png").write_bytes(b"")
    done(*words)
    for content, errors in ((b"", 1), (good, 0), (good, 0)):  # a lasting failure is no failure of the rest
        (photos / "2.png").write_bytes(content)
        done(*words, "--resume")
        lines = lines_of(tmp_path / "a.jsonl")
        assert len(lines) == len({line["path"] for line in lines}) == 6
        assert sum(line["error"] is not None for line in lines) == errors


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_every_picture_once(model, tmp_path):
    (tmp_path / "many").mkdir()
    png = cv2.imencode(".png", picture(100, 120, BOX))[1].tobytes()
    for number in range(600):
        (tmp_path / "many" / f"{number}.png").write_bytes(png)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "cornernet",
        "predict",
        model,
        tmp_path / "many",
        "-o",
        out,
        "--save",
        "csv",
        "--resume",
    ]
    lines, kills = out / "detections.jsonl", 0
    for _ in range(3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        before = lines.stat().st_size if lines.exists() else 0
        while process.poll() is None and (not lines.exists() or lines.stat().st_size <= before):
            time.sleep(0.01)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills > 0
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    names = [line["path"] for line in lines_of(lines)]
    assert len(names) == len(set(names)) == 600
    assert len(list(out.glob("*.jpg"))) == 600
    with (out / "detections.csv").open() as file:
        assert len({row["path"] for row in csv.DictReader(file)}) == 600


def test_what_cannot_be_resumed_is_said(model, photos, clip, tmp_path):
    assert run("predict", model, photos, "--json", "-", "--resume").exit_code == 2
    assert run("predict", model, clip, "-o", tmp_path / "o", "--resume").exit_code == 2
    (tmp_path / "a.jsonl").write_text('{"path": 3}\n')
    result = run("predict", model, photos, "--json", tmp_path / "a.jsonl", "--resume")
    assert result.exit_code == 1 and "Run without --resume" in result.stderr


def test_shards_together_are_the_whole_and_share_nothing(model, photos, tmp_path):
    for part in (1, 2, 3):
        done("predict", model, photos, "-o", tmp_path / "out", "--shard", f"{part}/3")
    paths = [line["path"] for part in (1, 2, 3) for line in lines_of(tmp_path / f"out/detections-{part}of3.jsonl")]
    assert sorted(paths) == sorted(str(path) for path in photos.glob("*.png"))
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 6
    for shard in ("0/3", "4/3", "1", "a/b"):
        assert run("predict", model, photos, "-o", tmp_path / "out", "--shard", shard).exit_code == 2


def test_the_part_of_a_name_is_the_same_in_every_process():
    parts = [next(part for part in range(1, 5) if in_shard(f"{number}.jpg", (part, 4))) for number in range(12)]
    assert parts == [1, 2, 1, 1, 4, 4, 1, 3, 3, 2, 4, 4]


@pytest.mark.parametrize("name", ["found.mp4", "found.avi"])
def test_a_clip_becomes_an_annotated_clip_of_the_same_length_and_rate(model, clip, tmp_path, name):
    for _ in range(2):
        result = done("predict", model, clip, "-o", tmp_path / name, "--json", tmp_path / "a.jsonl")
    assert "7 objects in 7 of 7 pictures" in result.stderr
    assert Video(tmp_path / name).rate == 10 and marked_video(tmp_path / name)
    frames = list(Video(tmp_path / name))
    assert [frame.number for frame in frames] == list(range(7)) and frames[0].pixels.shape == (96, 128, 3)
    assert np.ptp(frames[0].pixels.astype(int), axis=2).max() > 60  # the box is coloured
    assert [line["frame"] for line in lines_of(tmp_path / "a.jsonl")] == list(range(7))
    assert not list(tmp_path.glob(".*part*"))


def test_a_clip_among_pictures_goes_into_the_folder_with_every_second_frame(model, clip, photos, tmp_path):
    done("predict", model, clip, photos / "1.png", "-o", tmp_path / "out", "--every", 2, "--save", "coco,yolo,crops")
    assert Video(tmp_path / "out/clip.mp4").rate == 5 and len(list(Video(tmp_path / "out/clip.mp4"))) == 4
    lines = lines_of(tmp_path / "out/detections.jsonl")
    assert [(line["index"], line.get("frame")) for line in lines] == [(0, 0), (0, 2), (0, 4), (0, 6), (1, None)]
    assert (tmp_path / "out/labels/clip-000004.txt").is_file() and (tmp_path / "out/1.jpg").is_file()
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert images[1]["file_name"].endswith("clip.avi#2")


def test_a_video_of_somebody_else_is_left_alone_and_its_source_too(model, clip, photos, tmp_path):
    before = clip.read_bytes()
    for target in (clip, tmp_path / "other.mp4"):
        (tmp_path / "other.mp4").write_bytes(b"holidays")
        assert run("predict", model, clip, "-o", target).exit_code == 1
    assert clip.read_bytes() == before and (tmp_path / "other.mp4").read_bytes() == b"holidays"
    assert run("predict", model, photos, "-o", tmp_path / "a.mp4").exit_code == 2
    assert run("predict", model, clip, "-o", tmp_path / "a.mp4", "--save", "coco").exit_code == 2


def test_a_window_that_cannot_be_shown_is_one_sentence(model, photos, monkeypatch):
    def no_window(*arguments):
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", no_window)
    result = run("predict", model, photos, "--show")
    assert result.exit_code == 1 and "pip install opencv-python" in result.stderr


def test_a_window_shows_every_picture_until_q(model, photos, monkeypatch):
    shown = []
    monkeypatch.setattr(cv2, "namedWindow", lambda *arguments: None)
    monkeypatch.setattr(cv2, "destroyWindow", lambda *arguments: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image.shape))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: ord("q") if len(shown) == 3 else -1)
    assert run("predict", model, photos, "--show").exit_code == 130
    assert shown == [(100, 120, 3)] * 3


def test_a_picture_is_decoded_once(model, photos, tmp_path, monkeypatch):
    from cornernet.engine.reading import images

    decoded = []
    original = images._decode
    monkeypatch.setattr(images, "_decode", lambda data, *rest: decoded.append(1) or original(data, *rest))
    done("predict", model, photos, "-o", tmp_path / "out", "--save", "crops")
    assert len(decoded) == 6
