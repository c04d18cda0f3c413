"""Two workers on one machine: a worker is killed, a job is ended and begun again; each picture has one row."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import cv2
import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx
from typer.testing import CliRunner

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

import pyarrow.parquet as pq

from cornernet.cli import app
from cornernet.engine.cluster import ray_job
from cornernet.engine.cluster.ray_job import PartPredictor, predict_on_cluster
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError, DatasetError, ModelError, OutputError

CARD = make_card(train_size=(64, 64), size_multiple=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("model") / "model.onnx", CARD)


@pytest.fixture(scope="module")
def ray():
    """A cluster of this machine: two cores, and two GPUs that Ray counts but nobody uses."""
    import ray as module

    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else a token is written into the home folder
    module.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield module
    module.shutdown()
    os.environ.pop("RAY_AUTH_MODE") if before is None else os.environ.update(RAY_AUTH_MODE=before)


def write_pictures(folder, count):
    """Each with a box of its own place, and one in a hundred that is none."""
    folder.mkdir()
    for number in range(count):
        x, y = number % 20, number // 20 % 20
        content = cv2.imencode(".png", picture(32, 32, (x, y, x + 10, y + 10)))[1].tobytes()
        (folder / f"{number:05d}.png").write_bytes(b"nonsense" if number % 100 == 7 else content)
    return folder


def rows_of(output):
    return {row["path"]: row for row in pq.read_table(output).to_pylist()}


def check_rows(output, photos, model, **settings):
    """One row each, with what a Detector finds."""
    paths = [path.removeprefix("local://") for path in pq.read_table(output, columns=["path"])["path"].to_pylist()]
    files = sorted(map(str, photos.iterdir()))
    assert Counter(paths) == Counter(files)
    rows = {path.removeprefix("local://"): row for path, row in rows_of(output).items()}
    with Detector(model, **settings) as detector:
        for found in detector.predict(files):
            row = rows[found.path]
            np.testing.assert_allclose(np.reshape(row["boxes"], (-1, 4)), found.boxes, atol=1e-4)
            assert (row["error"] is None) == (found.error is None)
            assert row["names"] == list(found.names)


def test_a_part_is_written_with_a_row_for_each_picture_and_errors_in_theirs(model, tmp_path):
    photos = write_pictures(tmp_path / "photos", 20)
    (tmp_path / "out").mkdir()
    predictor = PartPredictor(str(model), str(tmp_path / "out"), 4, {})
    files = sorted(map(str, photos.iterdir()))
    report = predictor({"paths": np.array([*files, str(tmp_path / "gone.png")])})
    assert (report["pictures"], report["failed"], report["error"]) == (21, 2, "")
    rows = rows_of(tmp_path / "out")
    assert rows.pop(str(tmp_path / "gone.png"))["error"] == "no such file"
    assert rows.keys() == set(files)


def test_what_a_worker_cannot_do_is_said_and_is_no_exception_that_ray_would_try_again(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"x")
    report = PartPredictor(str(tmp_path / "bad.onnx"), str(tmp_path), 4, {})({"paths": ["a.png"]})
    assert "not an ONNX file" in report["error"]
    assert PartPredictor("x.onnx", str(tmp_path), 4, {"decode": "no"})({"paths": ["a"]})["error"].startswith(
        "ValueError"
    )


def test_what_cannot_be_used_is_refused_before_anything_starts(model, tmp_path):
    photos = write_pictures(tmp_path / "photos", 2)
    with pytest.raises(ModelError, match="cannot be read"):
        predict_on_cluster(tmp_path / "no.onnx", str(photos), str(tmp_path / "out"))
    with pytest.raises(DatasetError, match="no such folder"):
        predict_on_cluster(model, str(tmp_path / "no"), str(tmp_path / "out"))
    with pytest.raises(OutputError, match="not empty"):
        predict_on_cluster(model, str(photos), str(photos))
    with pytest.raises(ValueError, match="part_size=0"):
        predict_on_cluster(model, str(photos), str(tmp_path / "out"), part_size=0)
    assert not (tmp_path / "out").exists()


def test_parts_are_the_same_whatever_is_done_so_that_one_that_is_still_being_written_is_there_once(
    model, tmp_path, monkeypatch
):
    """A driver that was killed leaves a worker at its part; the next driver cannot see that part yet."""
    photos, output = write_pictures(tmp_path / "photos", 10), tmp_path / "out"
    handed_out = []
    monkeypatch.setattr(ray_job, "_start", lambda address: None)
    monkeypatch.setattr(ray_job, "_run", lambda parts, *_: handed_out.append(parts) or [])
    for _ in range(2):
        predict_on_cluster(model, str(photos), str(output), workers=1, part_size=4)
        if len(handed_out) == 1:
            PartPredictor(str(model), str(output), 4, {})({"paths": handed_out[0][1]})
    first, second = handed_out
    assert [len(part) for part in first] == [4, 4, 2]
    assert second == [first[0], first[2]]


@pytest.mark.slow
def test_there_are_as_many_workers_as_there_is_room_for(ray):
    assert [ray_job._room(gpus, cpus) for gpus, cpus in ((0, 1), (0, 2), (1, 1), (2, 1), (0.5, 1), (9, 9))] == [
        *(2, 1, 2, 1, 2, 1),
    ]


@pytest.mark.slow
def test_of_2000_pictures_none_is_lost_and_none_is_there_twice_when_a_worker_is_killed(ray, model, tmp_path):
    photos, output, pids = write_pictures(tmp_path / "photos", 2000), tmp_path / "out", []

    def kill_the_first(part):
        pids.append(part.pid)
        if len(pids) == 3:
            os.kill(pids[0], signal.SIGKILL)  # a worker of this test's own cluster

    report = predict_on_cluster(
        model, str(photos), str(output), workers=2, part_size=50, progress=kill_the_first, size=(256, 256)
    )
    assert (report.pictures, report.before, report.failed) == (2000, 0, 20)
    assert len(pids) == 40 and len(set(pids)) >= 2
    check_rows(output, photos, model, size=(256, 256))


@pytest.mark.slow
def test_a_job_that_is_ended_goes_on_and_new_pictures_are_added(ray, model, tmp_path):
    photos, output = write_pictures(tmp_path / "photos", 60), tmp_path / "out"

    def end(part):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_on_cluster(model, str(photos), str(output), workers=1, part_size=10, progress=end)
    begun = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*")}
    (photos / "00000b.png").write_bytes((photos / "00000.png").read_bytes())
    parts = []
    report = predict_on_cluster(model, str(photos), str(output), workers=2, part_size=10, progress=parts.append)
    assert report.before > 0 and report.pictures == 61
    assert sum(part.pictures for part in parts) == 61 - report.before
    assert all((output / name).stat().st_mtime_ns == when for name, when in begun.items())
    check_rows(output, photos, model)
    with pytest.raises(OutputError, match="another job, with other settings"):
        predict_on_cluster(model, str(photos), str(output), score_threshold=0.5)


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_what_the_next_one_completes_with_no_picture_twice(ray, model, tmp_path):
    """Its workers may still be at a part when the next driver begins: the part has the same name in both."""
    photos, output = write_pictures(tmp_path / "photos", 600), tmp_path / "out"
    words = ["cluster", str(model), str(photos), "-o", str(output), "--workers", "2", "--part-size", "20"]
    words += ["--size", "256x256"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen([sys.executable, "-m", "cornernet", *words], env=environment, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 120
        while not list(output.glob("part-*")):
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
        driver.stderr.close()
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "600 pictures" not in result.stderr and " 0 were done before" not in result.stderr
    check_rows(output, photos, model, size=(256, 256))


@pytest.mark.slow
def test_the_command_does_the_same_in_a_file_system_of_fsspec_and_a_bad_model_is_one_line(ray, model, tmp_path):
    """local://: this machine's files, but by the way that buckets go."""
    photos, output = write_pictures(tmp_path / "photos", 10), tmp_path / "out"
    words = ["cluster", str(model), f"local://{photos}", "-o", f"local://{output}", "--gpus", "1", "--part-size", "3"]
    for said in ("10 pictures, 1 of them with an error; 0 were done before", "0 pictures, 0 of them"):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert said in result.stderr
    check_rows(output, photos, model)
    (tmp_path / "bad.onnx").write_bytes(b"x")
    with pytest.raises(BackendError, match=r"finished parts are kept: .*bad\.onnx: not an ONNX file"):
        predict_on_cluster(tmp_path / "bad.onnx", str(photos), str(tmp_path / "out2"))


def test_the_command_leaves_the_thresholds_to_the_model_unless_others_are_asked_for(monkeypatch):
    asked = []

    def predict(*_, **settings):
        asked.append(settings["score_threshold"])
        return ray_job.JobReport(1, 0, 0)

    monkeypatch.setattr(ray_job, "predict_on_cluster", predict)
    for words in ([], ["--threshold", "0"], ["--threshold", "bright=.4"]):
        result = CliRunner().invoke(app, ["cluster", "model.onnx", "photos", "-o", "out", *words])
        assert result.exit_code == 0, result.output
    assert asked == [None, 0, {"bright": 0.4}]
