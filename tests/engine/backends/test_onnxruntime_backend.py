"""ONNX Runtime behind the Backend protocol, and the mixtures of packages that break it."""

import contextlib

import numpy as np
import pytest
from fake_backends import make_card, picture, write_onnx

from cornernet.engine import installation
from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.backends.open import open_backend
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import OUTPUTS


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx", make_card(max_size=512))


def test_outputs_have_the_shapes_and_types_of_the_contract(model):
    backend = OnnxRuntimeBackend(model)
    canvases = np.stack([picture(128, 256, (10, 20, 30, 40)), picture(128, 256)])
    raw = backend.run(canvases)
    assert [(value.shape, value.dtype.name) for value in raw] == [
        ((2, 4, 4), "float32"), ((2, 4), "float32"), ((2, 4, 2), "float32"), ((2, 4), "int32"), ((2,), "int32")
    ]  # fmt: skip
    assert raw._fields == OUTPUTS
    np.testing.assert_array_equal(raw.boxes[0, 0], [10, 20, 30, 40])
    assert raw.counts.tolist() == [1, 0]


def test_the_card_and_the_provider_are_known(model):
    backend = open_backend(model, threads=1)
    assert isinstance(backend, OnnxRuntimeBackend)
    assert backend.card == make_card(max_size=512)
    assert backend.active_providers[-1] == "CPUExecutionProvider"


def test_a_slice_of_an_array_runs_like_a_copy(model):
    backend = OnnxRuntimeBackend(model)
    wide = np.stack([picture(128, 256, (10, 20, 30, 40))] * 2)[::-1, :, ::-1]
    for strided, copied in zip(backend.run(wide), backend.run(np.ascontiguousarray(wide))):
        np.testing.assert_array_equal(strided, copied)


def test_a_failure_while_running_is_a_backend_error_that_names_the_canvases(model):
    with pytest.raises(BackendError, match=r"failed on canvases \(1, 128, 128, 3\)"):
        OnnxRuntimeBackend(model).run(np.zeros((1, 128, 128, 3), np.float32))


def test_a_provider_that_is_not_there_is_named_with_the_command(model):
    with pytest.raises(BackendError, match=r"NoSuchExecutionProvider.*pip install"):
        OnnxRuntimeBackend(model, providers=["NoSuchExecutionProvider"])


def test_a_provider_that_is_there_can_be_asked_for(model):
    assert OnnxRuntimeBackend(model, providers=["CPUExecutionProvider"]).active_providers == ["CPUExecutionProvider"]


def test_fewer_than_one_thread_is_refused(model):
    with pytest.raises(ValueError, match="threads=0"):
        OnnxRuntimeBackend(model, threads=0)


def pretend(monkeypatch, *names, importable=("onnxruntime",)):
    """Installed are these distributions and no others; `importable` are the packages that Python finds."""

    def version(name):
        if name not in names:
            raise installation.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(installation, "version", version)
    monkeypatch.setattr(installation, "find_spec", lambda name: name if name in importable else None)


def test_no_onnxruntime_wheel_is_diagnosed(monkeypatch):
    pretend(monkeypatch, "opencv-python-headless", importable=())
    (problem,) = installation.problems()
    assert "not installed" in problem.what and "pip install '.[cpu]'" in str(problem)


def test_both_onnxruntime_wheels_are_diagnosed_and_refused(monkeypatch, model):
    pretend(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in installation.onnxruntime_problem().command
    with pytest.raises(BackendError, match="both installed and overwrite each other"):
        OnnxRuntimeBackend(model)


@pytest.mark.parametrize("wheels", [("onnxruntime-directml",), ("onnxruntime-openvino",), ("ort-nightly",), ()])
def test_any_one_wheel_or_a_build_from_source_is_taken_as_it_is(monkeypatch, model, wheels):
    pretend(monkeypatch, *wheels)
    assert installation.problems() == []
    OnnxRuntimeBackend(model)


def test_three_wheels_over_each_other_are_all_named(monkeypatch):
    pretend(monkeypatch, "onnxruntime", "onnxruntime-directml", "ort-nightly")
    (problem,) = installation.problems()
    assert "ort-nightly 1.2.3 are all installed and overwrite each other" in problem.what
    assert problem.command.startswith("pip uninstall -y onnxruntime onnxruntime-directml ort-nightly && ")


def test_two_opencv_wheels_are_diagnosed(monkeypatch):
    pretend(monkeypatch, "onnxruntime", "opencv-python", "opencv-python-headless")
    (problem,) = installation.problems()
    assert "opencv-python-headless 1.2.3 and opencv-python 1.2.3" in problem.what
    assert "pip install opencv-python-headless" in problem.command


def test_a_sound_installation_has_no_problems(monkeypatch):
    pretend(monkeypatch, "onnxruntime-gpu", "opencv-python-headless")
    assert installation.problems() == []


@pytest.mark.parametrize(("policy", "spins"), [("", None), ("passive", "0"), ("PASSIVE", "0"), ("active", None)])
def test_threads_do_not_spin_where_the_environment_says_so(model, monkeypatch, policy, spins):
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    given: dict[str, str] = {}
    open_it = OnnxRuntimeBackend._open

    def open_and_look(backend, options, providers):
        for key in ("session.intra_op.allow_spinning", "session.force_spinning_stop"):
            with contextlib.suppress(RuntimeError):
                given[key] = options.get_session_config_entry(key)
        return open_it(backend, options, providers)

    monkeypatch.setattr(OnnxRuntimeBackend, "_open", open_and_look)
    OnnxRuntimeBackend(model).close()
    assert given.get("session.intra_op.allow_spinning") == spins and given["session.force_spinning_stop"] == "1"
