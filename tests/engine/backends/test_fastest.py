"""Which runtime `auto` takes, what it remembers, and what it says."""

import json
import time

import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, write_onnx

from cornernet.engine.backends import fastest
from cornernet.engine.backends.contract import Tensor
from cornernet.engine.backends.fastest import Candidate, Measurement, open_fastest
from cornernet.engine.backends.open import measure_runtimes, open_backend
from cornernet.engine.errors import BackendError, ModelError

ONE, TWO, THREE = Candidate("onnxruntime", "fp32"), Candidate("openvino", "fp32"), Candidate("openvino", "bf16")


class Waiting(FunctionBackend):
    """Takes its time over a canvas."""

    reason = ""

    def __init__(self, seconds):
        super().__init__(bright_box, make_card(train_size=(128, 128)))
        self.images = Tensor("images", "uint8", (None, None, None, 3))
        self.seconds = seconds

    def run(self, canvases):
        time.sleep(self.seconds)
        return super().run(canvases)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fastest, "SECONDS", 0.0)
    return tmp_path / "cache" / "cornernet" / "runtimes"


@pytest.fixture
def file(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(train_size=(128, 128)))


class Shelf:
    """Opens candidates that wait so many seconds, or raise."""

    def __init__(self, **outcomes):
        self.outcomes = {ONE: outcomes.get("one"), TWO: outcomes.get("two"), THREE: outcomes.get("three")}
        self.opened = {}

    def __call__(self, candidate):
        outcome = self.outcomes[candidate]
        if isinstance(outcome, Exception):
            raise outcome
        self.opened[candidate] = Waiting(outcome)
        return self.opened[candidate]


def test_the_fastest_is_taken_the_others_are_closed_and_the_reason_has_the_numbers(cache, file):
    shelf = Shelf(one=0.03, two=0.002, three=0.02)
    backend, measurement = open_fastest(file, [ONE, TWO, THREE], shelf)
    assert backend is shelf.opened[TWO] and not backend.closed
    assert shelf.opened[ONE].closed and shelf.opened[THREE].closed
    assert measurement.canvases == (1, 128, 128, 3)
    assert backend.reason == f"fastest of those measured: {measurement}"
    assert "openvino fp32 " in backend.reason and "ms for 1x128x128" in backend.reason


def test_what_was_measured_is_remembered_for_fewer_candidates_and_not_for_more(cache, file):
    open_fastest(file, [ONE, TWO], Shelf(one=0.02, two=0.001))
    again = Shelf(one=0.001, two=0.02)
    backend, _ = open_fastest(file, [ONE, TWO], again)
    assert list(again.opened) == [TWO] and backend.reason.startswith("fastest when last measured: ")
    more = Shelf(one=0.02, two=0.03, three=0.001)
    open_fastest(file, [ONE, TWO, THREE], more)
    assert len(more.opened) == 3
    fewer = Shelf(one=0, two=0)
    open_fastest(file, [ONE, TWO], fewer)
    assert list(fewer.opened) == [ONE]


def test_another_file_other_threads_and_again_are_measured(cache, file):
    def opened(path, **how):
        shelf = Shelf(one=0, two=0)
        open_fastest(path, [ONE, TWO], shelf, **how)
        return len(shelf.opened)

    assert [opened(file), opened(file)] == [2, 1]
    assert opened(file, threads=1) == 2
    assert opened(file, again=True) == 2
    assert opened(write_onnx(file.with_name("b.onnx"), make_card(name="b", train_size=(128, 128)))) == 2


@pytest.mark.parametrize("content", ["", "{", '{"canvases": [1], "milliseconds": {}}', "\udcff"])
def test_a_damaged_record_is_measured_again(cache, file, content):
    open_fastest(file, [ONE, TWO], Shelf(one=0, two=0.01))
    (record,) = cache.glob("*.json")
    record.write_bytes(content.encode("utf-8", "surrogateescape"))
    shelf = Shelf(one=0, two=0.01)
    open_fastest(file, [ONE, TWO], shelf)
    assert len(shelf.opened) == 2
    assert json.loads(record.read_text())["milliseconds"].keys() == {str(ONE), str(TWO)}


def test_a_folder_that_cannot_be_written_only_costs_the_memory_of_it(cache, file):
    cache.parent.mkdir(parents=True)
    cache.touch()
    backend, _ = open_fastest(file, [ONE, TWO], Shelf(one=0, two=0.01))
    assert backend.reason


def test_a_runtime_that_refuses_the_file_is_left_out_and_the_first_error_is_the_one_told(cache, file):
    backend, measurement = open_fastest(file, [ONE, TWO], Shelf(one=0, two=ModelError("refused")))
    assert measurement is None and backend.reason == "no other runtime here opens this file"
    with pytest.raises(BackendError, match="first"):
        open_fastest(file, [ONE, TWO], Shelf(one=BackendError("first"), two=ModelError("second")))


def test_near_equal_times_leave_the_preferred_one():
    near = Measurement(canvases=(1, 8, 8, 3), milliseconds={str(ONE): 10.0, str(TWO): 9.6, str(THREE): 9.4})
    assert near.fastest([ONE, TWO]) == ONE
    assert near.fastest([ONE, TWO, THREE]) == THREE


def test_a_real_file_is_measured_in_every_runtime_and_auto_then_knows(cache, file):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    measurement = measure_runtimes(file)
    assert {str(ONE), str(TWO)} <= measurement.milliseconds.keys()
    same = open_backend(file, runtime="auto")
    assert same.precision == "fp32" and same.reason == f"fastest when last measured: {measurement}"
    assert open_backend(file, precision="auto").reason == same.reason
    np.testing.assert_array_equal(same.run(np.zeros((1, 64, 64, 3), np.uint8)).counts, [0])


def test_words_and_options_that_do_not_fit_are_refused(tmp_path, file):
    for wrong in ({"runtime": "tensorflow"}, {"precision": "fp8"}):
        with pytest.raises(ValueError, match="expected one of None"):
            open_backend(file, **wrong)
    with pytest.raises(BackendError, match="never bf16"):
        open_backend(file, runtime="onnxruntime", precision="bf16")
    with pytest.raises(TypeError, match="options of one runtime"):
        open_backend(file, runtime="auto", providers=["CPUExecutionProvider"])
    (tmp_path / "model.engine").touch()
    with pytest.raises(ModelError, match=r"are for \.onnx files"):
        open_backend(tmp_path / "model.engine", runtime="openvino")
    with pytest.raises(ModelError, match=r"no such \.onnx file"):
        measure_runtimes(tmp_path / "model.engine")
