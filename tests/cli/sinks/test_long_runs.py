"""predict over many pictures: killed and resumed, shared among processes."""

import csv
import subprocess
import sys
import time

import cv2
import pytest
from fake_backends import picture
from predict_runs import BOX, done, lines_of, run

from cornernet.inputs import in_shard
from cornernet.sinks.json_lines import JsonLines


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


def test_a_folder_of_videos_goes_on_with_the_video_that_was_not_finished(model, clip, tmp_path):
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    for name in "abc":
        (clips / f"{name}.avi").write_bytes(clip.read_bytes())
    words = ("predict", model, clips, "-o", out, "--save", "csv")
    done(*words)
    whole = {name: (out / name).read_text() for name in ("detections.jsonl", "detections.csv")}
    lines = whole["detections.jsonl"].splitlines(keepends=True)
    (out / "detections.jsonl").write_text("".join(lines[:10]))  # killed at the third frame of b.avi
    for name in "abc":
        (out / f"{name}.mp4").unlink()
    assert "7 pictures were done before" in done(*words, "--resume").stderr
    assert {name: (out / name).read_text() for name in whole} == whole
    assert {path.name for path in out.glob("*.mp4")} == {"b.mp4", "c.mp4"}  # a.avi was done


def test_a_video_is_in_its_place_before_the_next_file_has_a_line(model, clip, photos, tmp_path, monkeypatch):
    out, seen = tmp_path / "out", []
    write = JsonLines.write
    monkeypatch.setattr(
        JsonLines, "write", lambda self, found: seen.append((out / "clip.mp4").exists()) or write(self, found)
    )
    done("predict", model, clip, photos / "1.png", "-o", out)
    assert seen == [False] * 7 + [True]


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
    assert run("predict", model, clip, "-o", tmp_path / "o.mp4", "--resume").exit_code == 2
    assert run("predict", model, "0", "-o", tmp_path / "o", "--resume").exit_code == 2  # a camera
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
