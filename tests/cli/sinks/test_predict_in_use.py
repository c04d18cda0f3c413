"""predict as it is used every day: classes, thresholds, tables, labels, crops, videos."""

import csv
import json

import cv2
import numpy as np
import pytest
from fake_backends import BRIGHT_BOX_GRAPH, make_card, picture, write_onnx
from predict_runs import BOX, done, lines_of, run

from cornernet.engine.detector import Detector
from cornernet.engine.reading.video import READERS, Video
from cornernet.sinks.video_file import marked_video


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


@pytest.mark.parametrize("trained", [(128, 128), None])
def test_python_and_the_command_line_find_the_same_without_a_setting(tmp_path, trained):
    """Sizes and scores: pictures larger than the canvas, objects on either side of the threshold."""
    sensitive = BRIGHT_BOX_GRAPH.replace("{128.0}", "{25.0}")
    model = write_onnx(tmp_path / "model.onnx", make_card(train_size=trained), sensitive)
    (tmp_path / "photos").mkdir()
    for number, value in enumerate((255, 200, 150, 100, 60)):
        cv2.imwrite(str(tmp_path / f"photos/{number}.png"), picture(200, 250, BOX, value=value))
    done("predict", model, tmp_path / "photos", "--json", tmp_path / "a.jsonl")
    with Detector(model) as detector:
        assert detector.stages.plan.fit == trained
        found = [json.loads(one.to_json()) for one in detector.predict(tmp_path / "photos")]
    assert found == lines_of(tmp_path / "a.jsonl")
    scores = [line["detections"][0]["score"] for line in found if line["detections"]]
    assert len(scores) == 4 and 0.3 <= min(scores) < 0.5


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


def test_a_folder_of_videos_and_pictures_is_done_file_by_file(model, clip, photos, tmp_path):
    (photos / "b.avi").write_bytes(clip.read_bytes())
    (photos / "deep" / "c.avi").write_bytes(clip.read_bytes())
    (photos / "broken.mp4").write_bytes(b"no video")
    result = done("predict", model, photos, "-o", tmp_path / "out", "--recursive", "--save", "csv")
    assert "broken.mp4: not a video that can be read" in result.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.mp4")} == {"b.mp4", "c.mp4"}
    for name in ("b.mp4", "c.mp4"):
        assert marked_video(tmp_path / "out" / name) and len(list(Video(tmp_path / "out" / name))) == 7
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 7
    lines = lines_of(tmp_path / "out/detections.jsonl")
    frames = [(line["path"][-5:], line["frame"]) for line in lines if line["error"] is None and "frame" in line]
    assert frames == [(name, number) for name in ("b.avi", "c.avi") for number in range(7)]


def test_each_reader_of_videos_can_be_asked_for_and_finds_the_same(model, clip, tmp_path):
    pytest.importorskip("av", reason="needs PyAV: pip install '.[video]'")
    found = []
    for reader in READERS:
        done("predict", model, clip, "--json", tmp_path / "a.jsonl", "--video-reader", reader)
        found.append([(line["frame"], line["detections"][0]["box"]) for line in lines_of(tmp_path / "a.jsonl")])
    assert found[0] == found[1] and len(found[0]) == 7
    assert run("predict", model, clip, "--json", tmp_path / "a.jsonl", "--video-reader", "ffmpeg").exit_code == 2


def test_a_video_of_somebody_else_is_left_alone_and_its_source_too(model, clip, photos, tmp_path):
    before = clip.read_bytes()
    for target in (clip, tmp_path / "other.mp4"):
        (tmp_path / "other.mp4").write_bytes(b"holidays")
        assert run("predict", model, clip, "-o", target).exit_code == 1
    assert clip.read_bytes() == before and (tmp_path / "other.mp4").read_bytes() == b"holidays"
    assert run("predict", model, photos, "-o", tmp_path / "a.mp4").exit_code == 2
    assert run("predict", model, clip, "-o", tmp_path / "a.mp4", "--save", "coco").exit_code == 2


def test_a_video_that_could_not_be_written_whole_is_an_error_and_leaves_nothing(model, clip, tmp_path, monkeypatch):
    class FullDisk:
        """Says nothing about frames that it drops, as OpenCV's own."""

        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *arguments):
            self.writer, self.frames = writer(*arguments), 0
            self.isOpened, self.release = self.writer.isOpened, self.writer.release

        def write(self, image):
            self.frames += 1
            if self.frames < 4:
                self.writer.write(image)

    writer = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", FullDisk)
    result = run("predict", model, clip, "-o", tmp_path / "out" / "a.avi")
    assert result.exit_code == 1 and "3 of 7 frames could be written; is the disk full?" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


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


def test_a_model_far_from_its_training_size_that_finds_nothing_says_so(model, photos, tmp_path):
    words = ("predict", model, photos / "0.png", "--json", tmp_path / "a.jsonl")
    assert "trained at 128x128 px and ran at 640x640 px" in done(*words, "--size", 640).stderr
    for usual in ((), ("--size", "128x128"), ("--size", "128")):
        assert "trained at" not in done(*words, *usual).stderr


def test_where_nothing_is_found_the_threshold_is_named(model, photos, tmp_path):
    words = ("predict", model, photos / "0.png", "--json", tmp_path / "a.jsonl")
    assert "no box scored 0.3 or more; --threshold 0.05 shows weaker ones" in done(*words).stderr
    assert "the model gave no box at all; `cornernet evaluate`" in done(*words, "--threshold", "0").stderr
    for other in (photos / "1.png", tmp_path / "nowhere.png"):
        assert "no box" not in run("predict", model, other, "--json", tmp_path / "a.jsonl").stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--conf", "0.3"), "Here it is called --threshold"),
        (("--imgsz", "640"), "Here it is called --size"),
        (("--iou", "0.5"), "soft-NMS"),
        (("--gpu", "0"), "Here it is called --device"),
        (("--source", "x"), "pictures stand behind the model"),
        (("--save-txt",), "Here it is called --save yolo"),
        (("--nonsense",), "No such option"),
    ],
)
def test_an_option_that_others_have_is_named_as_it_is_here(model, photos, tmp_path, option, words):
    result = run("predict", model, photos, "-o", tmp_path / "out", *option)
    assert result.exit_code == 2 and words in " ".join(result.stderr.replace("│", "").split())


def test_an_address_is_kept_as_it_is_and_refused_in_a_sentence(model, photos, tmp_path):
    result = done("predict", model, photos / "1.png", "https://example.com/a.jpg", "-o", tmp_path / "out")
    assert "https://example.com/a.jpg: an address is not fetched" in result.stderr


def test_addresses_are_fetched_on_request_and_their_copies_get_names_of_files(model, tmp_path, monkeypatch):
    png = cv2.imencode(".png", picture(100, 120, BOX))[1].tobytes()
    monkeypatch.setattr("cornernet.engine.reading.urls.fetch", lambda url: png)
    addresses = ["https://example.com/a.png?x=1", "https://example.com/b/a.png", "https://example.com/"]
    done("predict", model, *addresses, "--urls", "-o", tmp_path / "out", "--save", "yolo")
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"a.jpg", "a-2.jpg", "example.jpg"}
    assert [line["path"] for line in lines_of(tmp_path / "out/detections.jsonl")] == addresses
    assert (tmp_path / "out/labels/a-2.txt").read_text().startswith("0 0.29")
