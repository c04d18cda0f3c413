"""Which ONNX Runtime provider runs: what is chosen, and what is said when it does not start (no GPU needed)."""

from __future__ import annotations

import logging

import pytest
from toy_onnx import write_toy

from cornernet.engine.backends import onnxruntime as module
from cornernet.engine.errors import BackendError

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def gpu_wheel(monkeypatch):
    """onnxruntime-gpu on a machine without CUDA: the providers are listed, and none of them starts."""
    preloaded: list[bool] = []
    session = module.ort.InferenceSession
    monkeypatch.setattr(module.ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(module.ort, "preload_dlls", lambda: preloaded.append(True), raising=False)
    monkeypatch.setattr(
        module.ort, "InferenceSession", lambda path, options, providers: session(path, options, providers=[CPU])
    )
    return preloaded


@pytest.fixture
def toy(tmp_path):
    return write_toy(tmp_path / "toy.onnx")


def test_the_cpu_wheel_runs_on_the_cpu_without_a_word(toy, caplog):
    assert module.OnnxRuntimeBackend(toy, providers=[CPU]).active_providers == [CPU]
    assert not caplog.records


def test_cuda_is_preferred_and_a_fall_back_to_the_cpu_is_logged(toy, gpu_wheel, caplog):
    caplog.set_level(logging.WARNING)
    backend = module.OnnxRuntimeBackend(toy)
    assert backend.active_providers == [CPU]
    assert gpu_wheel == [True]
    assert f"{CUDA} did not start" in caplog.text and "onnxruntime-gpu[cuda,cudnn]" in caplog.text


@pytest.mark.parametrize("asked", [[CUDA, CPU], [(TENSORRT, {"trt_fp16_enable": "0"}), CPU]], ids=["cuda", "tensorrt"])
def test_a_provider_that_was_asked_for_and_does_not_start_is_an_error(toy, gpu_wheel, asked):
    with pytest.raises(BackendError, match=r"did not start, ONNX Runtime .* runs this on CPUExecutionProvider"):
        module.OnnxRuntimeBackend(toy, providers=asked)


def test_a_provider_that_the_wheel_lacks_is_refused_with_the_command(toy, monkeypatch):
    monkeypatch.setattr(module.ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(BackendError, match=r"'CUDAExecutionProvider' is not in this ONNX Runtime.*\[gpu\]"):
        module.OnnxRuntimeBackend(toy, providers=[CUDA])
