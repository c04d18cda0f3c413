"""Timing from outside: the stages are the detector's own, the statistics and the order of turns are right."""

import time

import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture
from planted_saccade import SceneBackend

from cornernet.benchmarks.latency.benchmark import Steps, find_readable, run_benchmark
from cornernet.benchmarks.latency.cold_start import time_cold_start
from cornernet.benchmarks.latency.latency_report import FORMAT, make_rows, meaning
from cornernet.benchmarks.latency.pictures import write_pictures
from cornernet.benchmarks.latency.postprocessing import CANDIDATES, crowded_views, time_postprocessing
from cornernet.benchmarks.latency.stage_times import (
    STAGES,
    WARM_UP_BATCHES,
    BatchTime,
    Subject,
    measure,
    per_image_ms,
    speed_against,
    time_end_to_end,
    time_stages,
)
from cornernet.engine.errors import BackendError, ImageError, ModelError
from cornernet.engine.reading.images import read_image
from cornernet.trainer.deploy import open_model as models
from cornernet.trainer.deploy.open_model import open_detector, open_model, runtime_of, sha256_of

SIZE = (128, 128)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), count=3, height=60, width=80)


class SlowBackend(FunctionBackend):
    def __init__(self, seconds, log=None, name=""):
        super().__init__(bright_box)
        self.seconds, self.log, self.label = seconds, log, name

    def run(self, canvases):
        time.sleep(self.seconds)
        if self.log is not None:
            self.log.append((self.label, len(canvases)))
        return super().run(canvases)


def test_a_batch_is_read_placed_run_and_post_processed(files):
    backend = SlowBackend(0.05)
    seconds = time_stages(backend, SIZE, files)
    assert tuple(seconds) == STAGES
    assert backend.shapes == [(3, 128, 128, 3)]
    assert seconds["run"] >= 0.05
    assert all(value > 0 for value in seconds.values())


def test_the_stages_give_the_model_what_the_detector_gives_it(files):
    seen = []

    def remember(canvas):
        seen.append(canvas.copy())
        return bright_box(canvas)

    subject = Subject("fake", FunctionBackend(remember), SIZE)
    time_stages(subject.backend, SIZE, files)
    time_end_to_end(subject.detector, files)
    assert len(seen) == 6
    for by_stages, by_detector in zip(seen[:3], seen[3:]):
        assert np.array_equal(by_stages, by_detector)


def test_of_a_saccade_both_looks_are_timed(files):
    backend = SceneBackend()
    subject = Subject("saccade", backend, (255, 255))
    seconds = time_stages(subject.backend, subject.size, files)
    looked = list(backend.shapes)
    time_end_to_end(subject.detector, files)
    assert sorted(backend.shapes[len(looked) :]) == sorted(looked) and len(looked) == 2
    assert all(value > 0 for value in seconds.values())


def test_end_to_end_refuses_to_time_a_failure(files, tmp_path):
    subject = Subject("fake", FunctionBackend(bright_box), SIZE)
    with pytest.raises(ImageError, match="gone"):
        time_end_to_end(subject.detector, [files[0], tmp_path / "gone.jpg"])


def test_models_take_turns_and_the_first_one_changes(files):
    log = []
    subjects = [Subject(name, SlowBackend(0, log, name), SIZE) for name in "ab"]
    measure(subjects, files, (1, 2), repeats=2)
    warm_up, timed = log[: 4 * WARM_UP_BATCHES], log[4 * WARM_UP_BATCHES :]
    assert len(warm_up) == 4 * WARM_UP_BATCHES
    once = timed[::3]  # each batch runs three times: not counted, stage by stage, and through the detector
    assert once == timed[1::3] == timed[2::3]
    assert once == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 1), ("a", 1), ("b", 2), ("a", 2)]
    assert {batch: len(times) for batch, times in subjects[0].times.items()} == {1: 2, 2: 2}


def test_percentiles_are_of_the_time_per_image():
    found = per_image_ms([0.004 * step for step in range(1, 101)], batch=4)
    assert found["p50"] == pytest.approx(50.5)
    assert found["p90"] == pytest.approx(90.1)
    assert found["p99"] == pytest.approx(99.01)
    assert found["mean"] == pytest.approx(50.5)
    assert found["max"] == pytest.approx(100)


def test_speed_is_the_median_of_paired_repetitions():
    def times(*seconds):
        return [BatchTime({}, value) for value in seconds]

    # Twice as fast in every repetition, on a machine that becomes ten times slower in between.
    assert speed_against(times(2, 20, 2), times(1, 10, 1)) == 2
    assert speed_against(times(1, 1), times(1, 1)) == 1


def test_rows_name_model_and_batch_and_keep_the_throughput(files):
    subjects = [Subject("a", SlowBackend(0.02), SIZE), Subject("b", SlowBackend(0.001), SIZE)]
    measure(subjects, files, (2,), repeats=3)
    first, second = make_rows(subjects)
    assert (first.model, first.batch, first.samples) == ("a", 2, 3)
    assert first.speed == 1
    assert second.speed == speed_against(subjects[0].times[2], subjects[1].times[2])
    assert first.end_to_end["p50"] >= 10
    assert first.images_per_s == pytest.approx(1000 / first.end_to_end["mean"])
    assert first.first_batch_ms >= 20


def test_few_repetitions_are_said_to_be_few():
    assert any("p99 of 20" in note for note in meaning(20))
    assert not any("p99" in note for note in meaning(100))


def test_a_benchmark_of_a_real_file_has_every_part_of_the_schema(bright_model, tmp_path):
    steps = []
    report = run_benchmark(
        [bright_model],
        batches=(1, 3),
        repeats=2,
        size=(128, 256),
        steps=Steps(start=lambda what, count: steps.append((what, count)), step=lambda: steps.append("step")),
    )
    assert report.format == FORMAT
    assert report.settings["canvas"] == [128, 256]
    assert [row.batch for row in report.rows] == [1, 3]
    (model,) = report.models
    assert model["sha256"] == sha256_of(bright_model)
    assert model["runtime"].startswith("ONNX Runtime ")
    assert set(model["cold_start_s"]) == {"import", "open", "first", "process"}
    assert model["cold_start_s"]["process"] > sum(model["cold_start_s"][key] for key in ("import", "open", "first"))
    assert report.postprocessing["candidates"] == 2000
    assert steps[0] == ("timing", 4)
    assert steps.count("step") == 5


def test_two_files_of_one_name_stay_apart(bright_model, tmp_path):
    (tmp_path / "copy").mkdir()
    twin = tmp_path / "copy" / bright_model.name
    twin.write_bytes(bright_model.read_bytes())
    report = run_benchmark([bright_model, twin], batches=(1,), repeats=1, cold_start=False, size=SIZE)
    assert [row.model for row in report.rows] == [bright_model.name, str(twin)]


def test_a_fresh_process_that_cannot_run_the_model_says_why(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(BackendError, match=r"bad\.onnx"):
        time_cold_start(tmp_path / "bad.onnx", SIZE)


@pytest.mark.parametrize("wrong", [{"batches": ()}, {"batches": (0,)}, {"repeats": 0}])
def test_nothing_to_measure_is_an_error(bright_model, wrong):
    with pytest.raises(ValueError, match="expected at least 1"):
        run_benchmark([bright_model], **wrong)


def test_unreadable_pictures_are_left_out_of_the_timing(files, tmp_path):
    (tmp_path / "a.jpg").write_bytes(files[0].read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.txt").write_text("")
    assert find_readable(tmp_path) == [tmp_path / "a.jpg"]


def test_a_folder_without_readable_pictures_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no readable picture"):
        find_readable(tmp_path)
    with pytest.raises(ImageError, match="no such directory"):
        find_readable(tmp_path / "gone")


def test_generated_pictures_are_the_same_for_the_same_seed(tmp_path):
    first = write_pictures(tmp_path / "a", count=2, height=40, width=50, seed=3)
    again = write_pictures(tmp_path / "b", count=2, height=40, width=50, seed=3)
    other = write_pictures(tmp_path / "c", count=2, height=40, width=50, seed=4)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()
    assert read_image(first[0]).shape == (40, 50, 3)


def test_post_processing_is_timed_on_two_thousand_candidates():
    raw = crowded_views(classes=80)
    assert int(raw.counts.sum()) == CANDIDATES
    assert (np.diff(raw.scores, axis=1) <= 0).all()
    assert set(np.unique(raw.labels)) <= set(range(80))
    times = time_postprocessing(classes=80, repeats=10)
    assert len(times) == 10
    # Ten times the budget: this catches a quadratic mistake, not a busy machine. The benchmark prints the number.
    assert min(times) < 20


def test_the_canvas_is_that_of_training_or_a_legal_one():
    assert make_card(train_size=(384, 512)).usual_canvas == (384, 512)
    assert make_card().usual_canvas == (512, 512)
    assert make_card(max_size=300).usual_canvas == (256, 256)


def test_an_onnx_file_opens_with_its_provider_and_threads(bright_model):
    backend = open_model(bright_model, threads=1)
    assert runtime_of(backend) in ("ONNX Runtime CPU", "ONNX Runtime CUDA")
    backend.close()


@pytest.mark.parametrize(
    ("train_size", "options", "canvas"),
    [
        ((128, 256), {}, (128, 256)),
        ((128, 256), {"protocol": "official", "mirror": False}, (383, 383)),
        ((128, 256), {"resize": "original"}, (384, 384)),
        (None, {}, (384, 384)),
        (None, {"size": (256, 128)}, (256, 128)),
    ],
)
def test_a_detector_fits_the_training_canvas_unless_told_otherwise(monkeypatch, train_size, options, canvas):
    backend = FunctionBackend(bright_box, make_card(train_size=train_size))
    monkeypatch.setattr(models, "open_model", lambda path, **how: backend)
    with open_detector("any.onnx", **options) as detector:
        detector.predict(picture(300, 300))
    assert backend.shapes == [(1, *canvas, 3)]
    assert backend.closed


def test_a_model_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.txt"):
        open_model(tmp_path / "model.txt")
