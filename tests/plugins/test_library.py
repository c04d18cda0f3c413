"""libcornernet_plugins.so as CMake builds it: every kernel compiles, and nothing leaves the library that should not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cornernet import plugins

ROOT = Path(__file__).resolve().parents[2]
LAUNCHERS = {
    "cornernet_corner_pool",
    "cornernet_corner_peaks",
    "cornernet_corner_peaks_workspace",
    "cornernet_corner_windows",
    "cornernet_corner_group",
    "cornernet_corner_group_workspace",
    "cornernet_corner_soft_nms",
    "cornernet_cuda_version",
    "cornernet_device_of",
    "cornernet_place_float_views",
    "cornernet_place_views",
}


def headers() -> str | None:
    root = os.environ.get("TENSORRT_ROOT")
    return root if root and (Path(root) / "include" / "NvInferRuntime.h").is_file() else None


def cmake(folder: Path, *options: str) -> str:
    """Configures and builds; CMake itself keeps what did not change since the last run."""
    environment = {key: value for key, value in os.environ.items() if key != "TENSORRT_ROOT"}
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DBUILD_TESTING=OFF", *options]
    said = subprocess.run(configure, check=True, capture_output=True, text=True, env=environment).stdout
    subprocess.run(["cmake", "--build", str(folder), "--parallel", "2"], check=True, capture_output=True)
    return said


needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc (CUDA toolkit 11.8 or newer)")
needs_headers = pytest.mark.skipif(headers() is None, reason="needs TensorRT headers: set TENSORRT_ROOT")


def build(architectures: str | None, root: str | None) -> Path:
    name = f"plugins-{architectures or 'every'}-{'headers' if root else 'kernels'}"
    folder = ROOT / "build" / name
    options = [f"-DCMAKE_CUDA_ARCHITECTURES={architectures}"] if architectures else []
    options.append(f"-DTENSORRT_INCLUDE_DIR={root}/include" if root else "-DTENSORRT_INCLUDE_DIR=")  # empty: no search
    if root or not architectures:
        # A third of the optimiser's time: these builds are for errors and symbols, not for speed.
        options.append("-DCMAKE_CUDA_FLAGS=-Xcicc -O1 -Xptxas -O1")
    said = cmake(folder, *options)
    assert ("building kernels and C launchers only" in said) == (root is None)
    return folder / plugins.LIBRARY_NAME


def exported(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def undefined(library: Path) -> str:
    return subprocess.run(["nm", "-DC", "--undefined-only", library], check=True, capture_output=True, text=True).stdout


@needs_cmake
@needs_nvcc
def test_without_tensorrt_headers_the_library_holds_the_launchers_only():
    library = build("90", None)
    assert exported(library) == LAUNCHERS
    assert (
        "libcudart" not in subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    )


@pytest.mark.tensorrt
@needs_cmake
@needs_nvcc
@needs_headers
def test_the_library_exports_two_functions_for_tensorrt_and_needs_none_of_it():
    library = build("90", headers())
    assert exported(library) == LAUNCHERS | {"getCreators", "setLoggerFinder"}
    assert "nvinfer" not in undefined(library)


@pytest.mark.slow
@needs_cmake
@needs_nvcc
def test_nvcc_compiles_every_kernel_for_every_architecture():
    library = build(None, headers())
    known = subprocess.run(["nvcc", "--list-gpu-arch"], check=True, capture_output=True, text=True).stdout
    contents = library.read_bytes()
    for architecture in (75, 80, 86, 89, 90, 100, 120):
        if f"compute_{architecture}\n" in known:
            assert f"sm_{architecture}".encode() in contents


@needs_cmake
def test_without_cuda_cmake_configures_and_says_what_is_missing(tmp_path):
    said = cmake(tmp_path, "-DCMAKE_CUDA_COMPILER=NOTFOUND")
    assert "no nvcc, the plugin library is not built" in said


def test_library_path_obeys_the_environment_variable(tmp_path, monkeypatch):
    library = tmp_path / "mine.so"
    library.touch()
    monkeypatch.setenv(plugins.LIBRARY_VARIABLE, str(library))
    assert plugins.library_path() == library
    monkeypatch.setenv(plugins.LIBRARY_VARIABLE, str(tmp_path / "missing.so"))
    assert plugins.library_path() is None


def test_library_path_finds_the_build_folder_of_a_checkout(monkeypatch):
    monkeypatch.delenv(plugins.LIBRARY_VARIABLE, raising=False)
    searched = plugins.searched_paths()
    assert ROOT / "build" / plugins.LIBRARY_NAME in searched
    assert ROOT / "plugins" / plugins.LIBRARY_NAME in searched


@needs_nvcc
@pytest.mark.slow
def test_a_thousand_boxes_of_soft_nms_stay_in_registers_on_hopper(tmp_path):
    """What ptxas says of the kernel with one box a thread; with an array of boxes it would go through local memory."""
    source = ROOT / "plugins" / "kernels" / "corner_soft_nms.cu"
    command = ["nvcc", "-std=c++17", "-O3", "-arch=sm_90", "-Xptxas", "-v", "-c", source, "-o", tmp_path / "x.o"]
    said = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stderr
    (kernel,) = (part for part in said.split("Compiling entry function")[1:] if "corner_soft_nms_kernelILi1E" in part)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in kernel
