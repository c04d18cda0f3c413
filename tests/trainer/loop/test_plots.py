"""Pictures of a run: whatever the shape of a photograph or the name of a class, and without a trace in the process."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from cornernet.engine.model_card import ModelCard
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.picture_file import is_marked
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.trainer.loop import plots, run_pictures
from cornernet.trainer.loop.plots import draw_beside_truth, draw_scaled


def detections(size, names):
    box = np.array([[0, 0, size[1], size[0]]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([0]), class_names=names, image_size=size)


@pytest.mark.parametrize("size", [(1, 1400), (1400, 1), (1, 1), (3, 2000)])
def test_pictures_of_any_shape_are_drawn_beside_their_truth(tmp_path, size):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
    box = np.array([[0, 0, size[1], size[0]]], np.float32)
    sample = Sample(1, path, size[1], size[0], box, np.zeros(1, np.int64), np.zeros(1, bool))
    names = ("a name far longer than the picture is wide",)
    draw_beside_truth([sample], [detections(size, names)], names, tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 1
    assert draw_scaled(np.zeros((*size, 3), np.uint8), detections(size, names), 0.01).size > 0


@pytest.mark.parametrize(
    ("threshold", "title"), [(0.3, "found, scores from 0.3"), (None, "found, from the model's thresholds")]
)
def test_a_sheet_says_from_which_score_on_boxes_are_shown_and_of_which_file(tmp_path, monkeypatch, threshold, title):
    written = []
    monkeypatch.setattr(plots.cv2, "putText", lambda image, text, *style: written.append(text))
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((40, 40, 3), 90, np.uint8))
    sample = Sample(1, path, 40, 40, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    draw_beside_truth([sample], [detections((40, 40), ("a",))], ("a",), tmp_path / "sheet.png", threshold=threshold)
    assert {title, "truth of picture.png"} <= set(written)


@pytest.mark.parametrize("name", ["[/bold]", "[bold]", "$x_{", "Zürich 猫", "\ud800 lone", "line\nbreak", ""])
def test_classes_may_have_any_name(tmp_path, name):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((40, 40, 3), 90, np.uint8))
    sample = Sample(1, path, 40, 40, np.array([[1, 1, 20, 20]], np.float32), np.zeros(1, np.int64), np.zeros(1, bool))
    draw_beside_truth([sample], [detections((40, 40), (name,))], (name,), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()


def test_a_picture_that_cannot_be_drawn_is_reported_and_ends_nothing(tmp_path, monkeypatch):
    card = ModelCard(name="x", class_names=("a",), category_ids=(1,))
    data = CocoDataset((), ("a",), (1,), tmp_path / "x.json")

    def fail(*given):
        raise cv2.error("no such size")

    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "AP": 0.5, "AP50": 0.6}\n')
    monkeypatch.setattr(run_pictures, "predict_samples", fail)
    assert "no such size" in str(run_pictures.draw_run(tmp_path, None, card, data, None))
    assert is_marked(tmp_path / "losses.png") and is_marked(tmp_path / "ap.png")


NOTEBOOK = """
import matplotlib
matplotlib.use("svg")
import cv2
before = cv2.getNumThreads()
import cornernet.trainer.loop.train, cornernet.trainer.loop.plots, cornernet.benchmarks.analyses.errors_picture
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
assert "matplotlib.pyplot" not in __import__("sys").modules
assert cv2.getNumThreads() == before
"""


def test_importing_what_draws_leaves_a_notebooks_figures_and_threads_alone():
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
