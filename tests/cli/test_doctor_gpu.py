"""What `doctor` says about a driver that is too old: the number that CUDA itself gives, error 35, helps nobody."""

from __future__ import annotations

from fake_cuda import FakeCuda

from cornernet.commands import doctor
from cornernet.engine.backends import cuda_runtime, trt_api


def test_a_driver_older_than_the_plugin_library_is_a_finding_with_both_versions(monkeypatch, tmp_path):
    library = tmp_path / "libcornernet_plugins.so"
    monkeypatch.setattr(trt_api, "find_plugin_library", lambda: library)
    monkeypatch.setattr(cuda_runtime, "driver_version", lambda: 12040)
    monkeypatch.setattr(trt_api, "driver_problem", lambda file, driver: f"{file.name} needs more than {driver}")
    finding = doctor._plugins()
    assert (finding.state, finding.detail) == ("broken", "libcornernet_plugins.so needs more than 12040")


def test_the_advice_on_plugins_does_something_where_it_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(trt_api, "find_plugin_library", lambda: None)
    checkout = doctor._plugins()
    assert checkout.advice.startswith("cmake -B build && cmake --build build") and "pip" not in checkout.advice
    monkeypatch.setattr("cornernet.__file__", str(tmp_path / "site-packages" / "cornernet" / "__init__.py"))
    installed = doctor._plugins()
    assert installed.state == "missing"
    assert installed.advice.startswith("CORNERNET_PLUGINS=1 pip install --force-reinstall --no-deps .")


def test_a_gpu_that_cuda_python_cannot_reach_is_a_finding_with_the_reason(monkeypatch):
    cuda = FakeCuda()
    cuda.driver_version, cuda.runtime_version = 12040, 13000
    monkeypatch.setattr(cuda_runtime, "_import_cuda_python", lambda: (cuda, cuda, int))
    gpu = {"name": "Fake GPU", "driver_version": "550.54"}
    monkeypatch.setattr("cornernet.engine.machine.machine_facts", lambda: {"gpus": [gpu]})
    finding = doctor._gpu()
    assert finding.state == "broken"
    assert "Fake GPU, driver 550.54" in finding.detail and "cuda-python>=12.9.1,<13" in finding.detail
    assert cuda_runtime.driver_version() == 0
    cuda.runtime_version = 12090
    assert doctor._gpu().state == "works" and cuda_runtime.driver_version() == 12040
