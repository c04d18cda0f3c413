"""The compiled post-processing against its numpy twin, which the loops of the oracles hold."""

import ctypes
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fake_backends import make_card
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet.engine import native
from cornernet.engine.backends import RawDetections
from cornernet.engine.geometry import place_fit, place_original
from cornernet.engine.protocol import DEFAULT, MMDETECTION, OFFICIAL
from cornernet.engine.results.postprocess import Suppression, to_results

ROOT = Path(__file__).parents[3]
COMPILED = native.load() is not None
needs_library = pytest.mark.skipif(not COMPILED, reason="no C++ compiler was there when the package was installed")


def raw_views(seed, views, rows, classes, spread, ties):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, spread, (views, rows, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(-3, 60, (views, rows, 2))), axis=2).astype(np.float32)
    scores = -np.sort(-rng.beta(0.4, 4, (views, rows)), axis=1).astype(np.float32)
    if ties:
        boxes, scores = boxes.round(-1), scores.round(1)
    return RawDetections(
        boxes,
        scores,
        rng.uniform(0.1, 1, (views, rows, 2)).astype(np.float32),
        rng.integers(0, classes, (views, rows)).astype(np.int32),
        rng.integers(0, rows + 1, views).astype(np.int32),
    )


def in_numpy(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "load", lambda: None)
        return to_results(*arguments)


def same(compiled, plain):
    assert compiled.boxes.dtype == compiled.scores.dtype == np.float32 and compiled.labels.dtype == np.int32
    np.testing.assert_allclose(compiled.scores, plain.scores, atol=1e-6)
    np.testing.assert_array_equal(compiled.labels, plain.labels)
    np.testing.assert_array_equal(compiled.boxes, plain.boxes)


@needs_library
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(0, 60),
    classes=st.integers(1, 5),
    spread=st.sampled_from([1.0, 50.0, 500.0]),
    ties=st.booleans(),
    method=st.sampled_from(["gaussian", "linear", "hard", None]),
    limit=st.sampled_from([1, 7, 100]),
    threshold=st.sampled_from([0.0, 0.05, 0.3, 0.7]),
    protocol=st.sampled_from([DEFAULT, MMDETECTION, dataclasses.replace(DEFAULT, iou_pixel=1, drop_empty=False)]),
    mirror=st.booleans(),
    scaled=st.booleans(),
)
def test_it_takes_the_boxes_of_the_numpy_version_in_the_same_order(
    seed, rows, classes, spread, ties, method, limit, threshold, protocol, mirror, scaled
):
    raw = raw_views(seed, 2, rows, classes, spread, ties)
    if scaled:
        placement = place_fit((480, 640), (256, 384), protocol)
    else:
        placement = place_original((100, 300), make_card(), protocol)
    views = [(raw, 0, placement), (raw, 1, placement.mirror("pixels") if mirror else placement)]
    suppression = Suppression(method=method, max_per_image=limit, score_threshold=threshold)
    same(to_results(views, suppression, protocol), in_numpy(views, suppression, protocol))


@needs_library
@pytest.mark.parametrize("classes", [1, 80])
def test_a_thousand_crowded_candidates_agree(classes):
    raw = raw_views(1, 2, 1000, classes, 400.0, False)
    raw = raw._replace(counts=np.full(2, 1000, np.int32))
    placement = place_fit((480, 640), (512, 512), DEFAULT)
    views = [(raw, 0, placement), (raw, 1, placement.mirror())]
    same(to_results(views, Suppression(), DEFAULT), in_numpy(views, Suppression(), DEFAULT))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    method=st.sampled_from(["gaussian", "linear", "hard", None]),
    threshold=st.floats(0.01, 0.9),
    limit=st.sampled_from([3, 100]),
    compiled=st.booleans(),
)
def test_cutting_at_the_threshold_first_gives_what_cutting_afterwards_gives(seed, method, threshold, limit, compiled):
    raw = raw_views(seed, 1, 40, 2, 80.0, True)
    views = [(raw, 0, place_original((100, 300), make_card(), DEFAULT))]
    run = to_results if compiled else in_numpy
    everything = run(views, Suppression(method=method, max_per_image=limit), DEFAULT)
    kept = everything.scores >= np.float32(threshold)
    cut = run(views, Suppression(method=method, max_per_image=limit, score_threshold=threshold), DEFAULT)
    for first, second in zip(cut, everything, strict=True):
        np.testing.assert_array_equal(first, second[kept])


def test_with_merging_boxes_below_the_threshold_still_move_those_above_it():
    boxes = np.array([[[0, 0, 10, 10], [2, 2, 12, 12]]], np.float32)
    scores = np.array([[0.9, 0.2]], np.float32)
    raw = RawDetections(boxes, scores, np.ones((1, 2, 2), np.float32), np.zeros((1, 2), np.int32), np.array([2]))
    views = [(raw, 0, place_original((128, 128), make_card(), DEFAULT))]
    merged = to_results(views, Suppression(merge_exponent=1.0, score_threshold=0.5), DEFAULT)
    assert len(merged.scores) == 1 and (merged.boxes[0] > [0, 0, 10, 10]).all()


@needs_library
def test_what_is_no_number_is_never_taken():
    raw = raw_views(0, 1, 20, 2, 80.0, False)
    raw.counts[0] = 20
    raw.scores[0, 3] = np.nan
    raw.boxes[0, 5, 2] = np.nan
    views = [(raw, 0, place_original((100, 300), make_card(), DEFAULT))]
    found = to_results(views, Suppression(), DEFAULT)
    assert np.isfinite(found.scores).all() and np.isfinite(found.boxes).all()


@needs_library
@pytest.mark.parametrize("suppression", [Suppression(), Suppression(merge_exponent=10.0)])
def test_the_official_protocol_and_merging_stay_with_numpy(monkeypatch, suppression):
    protocol = OFFICIAL if suppression.merge_exponent is None else DEFAULT
    monkeypatch.setattr(native, "suppress", lambda *_: pytest.fail("this needs the numpy version"))
    raw = raw_views(0, 1, 20, 2, 80.0, False)
    to_results([(raw, 0, place_original((100, 300), make_card(), protocol))], suppression, protocol)


@needs_library
def test_any_number_of_results_may_be_asked_for():
    raw = raw_views(0, 1, 20, 2, 80.0, False)
    views = [(raw, 0, place_original((100, 300), make_card(), DEFAULT))]
    assert len(to_results(views, Suppression(max_per_image=2**40), DEFAULT).scores) <= 20


@needs_library
def test_other_threads_run_while_it_works():
    """Candidates in a grid, all of one class: seconds of work without Python's lock."""
    rows = 4000
    raw = raw_views(0, 1, rows, 1, 40.0, False)
    raw.counts[0] = rows
    views = [(raw, 0, place_original((100, 300), make_card(), DEFAULT))]
    suppression = Suppression(max_per_image=rows, min_score=1e-30)
    ticks, done = 0, threading.Event()

    def work():
        to_results(views, suppression, DEFAULT)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.is_set():
        ticks += 1
    worker.join()
    assert ticks > 100


def test_a_library_of_another_version_is_not_used(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(native, "library_path", lambda: tmp_path / "absent.so")
    assert native.load.__wrapped__() is None and "cannot be used" in caplog.text
    if COMPILED:
        monkeypatch.undo()
        monkeypatch.setattr(native, "VERSION", 99)
        assert native.load.__wrapped__() is None and "expected 99" in caplog.text


def test_the_layouts_are_those_of_the_c_code(tmp_path):
    """Compiled with the same compiler: sizes and offsets of both structures."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    source = ROOT / "engine" / "native" / "suppress.cpp"
    fields = {
        "View": ["mirrorAxis", "left", "horizontal", "vertical", "count", "mirrored"],
        "Rule": ["minusInverseSigma", "iouPixel", "method", "limit", "dropEmpty"],
    }
    prints = [f'std::printf("%zu ", offsetof({name}, {field}));' for name, all_ in fields.items() for field in all_]
    main = f'#include "{source}"\n#include <cstddef>\n#include <cstdio>\nint main() {{ {" ".join(prints)} }}'
    (tmp_path / "layout.cpp").write_text(main)
    subprocess.run(["g++", "-std=c++17", tmp_path / "layout.cpp", "-o", tmp_path / "layout"], check=True)
    offsets = [int(text) for text in subprocess.check_output([tmp_path / "layout"], text=True).split()]
    ours = ["mirror_axis", "left", "horizontal", "vertical", "count", "mirrored"]
    expected = [getattr(native.View, name).offset for name in ours]
    ours = ["minus_inverse_sigma", "iou_pixel", "method", "limit", "drop_empty"]
    expected += [getattr(native.Rule, name).offset for name in ours]
    assert offsets == expected


def test_without_a_library_results_are_the_same_but_for_the_last_digit(tmp_path):
    script = (
        "import numpy as np\nfrom cornernet.engine import native\nnative.load = lambda: None\n"
        "from fake_backends import *\nfrom cornernet import Detector\n"
        "found = Detector(FunctionBackend(bright_box)).predict(picture(60, 90, (20, 30, 60, 50)))[0]\n"
        "print(found.boxes.tolist(), found.error)"
    )
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[[20.0, 30.0, 60.0, 50.0]] None", done.stderr


def test_ctypes_releases_the_lock():
    """`PyDLL` would hold it."""
    library = native.load()
    assert library is None or (isinstance(library, ctypes.CDLL) and not isinstance(library, ctypes.PyDLL))
