"""A library built for one generation of GPUs and run on another, and what older compilers lack: the same bits."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import oracles
import pytest

from cornernet.engine.backends import trt_api
from cornernet.plugins.driver import Driver

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "plugins" / "kernels"
SHAPE = (1, 8, 64, 24)  # one map of channels last, which a cluster would share


def pooled_in_clusters(kernels, seed: int) -> int:
    """Pools maps of SHAPE, compares with the oracle; the number of launches that used clusters."""
    first, second = np.random.default_rng(seed).standard_normal((2, *SHAPE)).astype(np.float16)
    before = kernels.launchers.library.host_cuda_cluster_launches()
    for corner in ("top_left", "bottom_right"):
        pooled = kernels.corner_pool(first, second, corner, "channels_last_8")
        np.testing.assert_array_equal(pooled, oracles.corner_pool(first, second, corner))
    return kernels.launchers.library.host_cuda_cluster_launches() - before


@pytest.mark.parametrize(
    ("device", "compiled_for", "active_clusters", "launches"),
    [(30, 90, 16, 2), (31, 80, 16, 0), (32, 86, 16, 0), (33, 100, 1, 2), (34, 90, 0, 0)],
    ids=["hopper", "ampere code on hopper", "ada code on hopper", "blackwell", "a partition without room"],
)
def test_clusters_are_used_only_where_the_kernel_has_them_and_they_fit(
    emulated, device, compiled_for, active_clusters, launches
):
    emulated.pretend(device=device, compiled_for=compiled_for, active_clusters=active_clusters)
    try:
        assert pooled_in_clusters(emulated, device) == launches
    finally:
        emulated.pretend(device=9)


def test_a_device_is_asked_once_whether_clusters_fit(emulated):
    emulated.pretend(device=40)
    try:
        asked = emulated.launchers.library.host_cuda_cluster_questions()
        for seed in range(3):
            pooled_in_clusters(emulated, seed)
        assert emulated.launchers.library.host_cuda_cluster_questions() == asked + 1
    finally:
        emulated.pretend(device=9)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_the_arithmetic_of_turing_gives_the_bits_of_the_oracle(emulated_turing, dtype):
    rng = np.random.default_rng(5)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, float(ml_dtypes.finfo(dtype).max)])
    for shape in [(1, 2, 24, 40), (1, 1, 9, 264)]:
        first, second = rng.standard_normal((2, *shape)).astype(np.float32)
        for where, value in zip(rng.integers(0, first.size, len(special)), special):
            first.flat[where] = value
        first, second = first.astype(dtype), second.astype(dtype)
        for corner in ("top_left", "bottom_right"):
            with np.errstate(all="ignore"):
                expected = oracles.corner_pool(first, second, corner)
            got = emulated_turing.corner_pool(first, second, corner)
            np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))
    logits = rng.standard_normal((1, 3, 33, 48)).astype(dtype)
    for got, expected in zip(emulated_turing.corner_peaks(logits, 40), oracles.corner_peaks(logits, 40)):
        np.testing.assert_array_equal(got, expected)


def test_a_library_of_a_later_cuda_than_the_drivers_is_named_before_a_kernel_fails(emulated):
    library = Path(emulated.launchers.library._name)
    assert trt_api.driver_problem(library, 12040).startswith(
        f"{library} was compiled with CUDA 13, the NVIDIA driver is"
    )
    for fitting in (13000, 14010, 0):
        assert trt_api.driver_problem(library, fitting) == ""


def test_the_driver_lets_the_primary_context_go(monkeypatch):
    calls = []

    class Library:
        def __getattr__(self, name):
            return lambda *arguments: calls.append(name) or 0

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    with Driver() as device:
        device.allocate(16)
    assert calls[-2:] == ["cuMemFree_v2", "cuDevicePrimaryCtxRelease_v2"]
    assert calls.count("cuDevicePrimaryCtxRetain") == 1


CUDA_11 = "nvidia-cuda-runtime-cu11==11.8.89"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc (CUDA toolkit 11.8 or newer)")
def test_turing_code_needs_no_intrinsic_that_cuda_11_has_from_ampere_on_only(tmp_path):
    """The headers of 16-bit floats are those of CUDA 11.8, all else is the toolkit at hand, whose other headers miss a
    few names for their own use: only errors in the kernels count."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "cu11"),
        CUDA_11,
    ]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"the package registry gave no {CUDA_11}")
    old = next((tmp_path / "cu11").rglob("cuda_bf16.h")).parent
    (tmp_path / "include").mkdir()
    for name in ("cuda_bf16.h", "cuda_bf16.hpp", "cuda_fp16.h", "cuda_fp16.hpp"):
        shutil.copy(old / name, tmp_path / "include" / name)
    old_headers_were_read = False
    for kernel in sorted(KERNELS.glob("*.cu")):
        command = ["nvcc", "-arch=compute_75", "-std=c++17", "-ptx", "-O1", f"-I{tmp_path}/include", "-o", os.devnull]
        said = subprocess.run([*command, str(kernel)], capture_output=True, text=True).stderr
        old_headers_were_read |= "cuda_fp8.hpp" in said
        assert [line for line in said.splitlines() if "error:" in line and str(KERNELS) in line] == []
    assert old_headers_were_read
