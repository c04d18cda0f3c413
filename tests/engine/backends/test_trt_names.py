"""Every TensorRT and CUDA name that we use exists in the true bindings, old and new, without a GPU or their libraries.

The bindings of `tensorrt` are on PyPI, the libraries they load are not; nine empty C functions are enough to import
them. Wheels are kept in `.cache/bindings` (ignored by git).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorrt_names import cuda_names, tensorrt_names

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
)

LOOK_UP = """
import importlib, json, sys
module, names = importlib.import_module(sys.argv[1]), json.loads(sys.stdin.read())
def exists(name):
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
print(json.dumps([module.__version__, [name for name in names if not exists(name)]]))
"""

LOOK_UP_CUDA = """
import json, sys
from cuda.bindings import driver, runtime
names = set(dir(runtime)) | set(dir(driver)) | set(dir(driver.CUpointer_attribute))
for group in ("cudaDeviceAttr", "cudaMemcpyKind", "cudaMemoryType", "cudaStreamCaptureMode"):
    names |= set(dir(getattr(runtime, group)))
from cornernet.engine.backends.cuda_runtime import Cuda, CudaError
try:
    Cuda()
    said = "opened"
except CudaError as error:
    said = error.code
print(json.dumps([said, [name for name in json.loads(sys.stdin.read()) if name not in names]]))
"""


def installed(root: Path, *requirements: str) -> Path:
    """Folder with the wheels unpacked; skips the test if the registry does not answer or has none for this Python."""
    tag = f"{sys.version_info.major}{sys.version_info.minor}"
    folder = root / ".cache" / "bindings" / f"{'+'.join(requirements)}-py{tag}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--retries=1", "--timeout=20", "--target", str(partial), *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        pytest.skip(f"the package registry gave no {', '.join(requirements)}: {done.stderr.strip()[-200:]}")
    try:
        partial.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(partial)
    return folder


def stub_libraries(folder: Path, major: int) -> Path:
    """Libraries of the names and functions the bindings look for when they are imported, with nothing in them."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (gcc) to make stub libraries")
    source = folder / "stub.c"
    source.write_text("".join(f"void* {symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for name in LIBRARIES:
        soname = f"lib{name}.so.{major}"
        command = [compiler, "-shared", "-fPIC", str(source), f"-Wl,-soname,{soname}", "-o", str(folder / soname)]
        subprocess.run(command, check=True)
    return folder


def look_up(script: str, names: set[str], *arguments: str, path: Path, libraries: str = "") -> tuple[str, list[str]]:
    """Run `script` in a process of its own, which the bindings may end as they like."""
    environment = os.environ | {"PYTHONPATH": str(path), "LD_LIBRARY_PATH": libraries}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        input=json.dumps(sorted(names)),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    first, missing = json.loads(done.stdout.splitlines()[-1])
    return first, missing


def test_the_collector_sees_the_names_that_matter(root):
    every, rtx = tensorrt_names(root)
    assert len(every) > 70
    expected = (
        "OnnxParser.parse BuilderFlag.TF32 IExecutionContext.execute_async_v3 ITensor.dtype ParserError.node_name"
    )
    assert set(expected.split()) <= every
    assert "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE" in rtx
    assert {"cudaGraphLaunch", "cudaMalloc", "cudaMemcpyHostToDevice"} <= cuda_names(root)


def test_the_look_up_finds_out_names_that_do_not_exist(tmp_path):
    (tmp_path / "some_bindings.py").write_text("__version__ = '1'\nclass Builder:\n    build = None\n")
    names = {"Builder.build", "Builder.gone", "Absent"}
    assert look_up(LOOK_UP, names, "some_bindings", path=tmp_path) == ("1", ["Absent", "Builder.gone"])


@pytest.mark.parametrize(
    "requirement",
    ["tensorrt-cu12-bindings==10.12.0.36", "tensorrt-cu12-bindings==10.16.1.11", "tensorrt-cu13-bindings==11.4.0.106"],
    ids=["10.12", "10.16", "11.4"],
)
def test_every_name_exists_in_the_true_bindings_of_tensorrt(root, tmp_path, requirement):
    version = requirement.partition("==")[2]
    folder = installed(root, requirement)
    libraries = stub_libraries(tmp_path, int(version.partition(".")[0]))
    every, _ = tensorrt_names(root)
    assert look_up(LOOK_UP, every, "tensorrt_bindings", path=folder, libraries=str(libraries)) == (version, [])


def test_every_name_exists_in_tensorrt_rtx(root):
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx: pip install '.[rtx]'")
    every, only = tensorrt_names(root)
    place = Path(rtx.__file__).parents[1]
    assert look_up(LOOK_UP, every | only, "tensorrt_rtx", path=place) == (rtx.__version__, [])


@pytest.mark.parametrize(
    "requirements",
    [("cuda-bindings==12.9.0",), ("cuda-bindings==13.5.0", "cuda-pathfinder==1.9.0")],
    ids=["12.9", "13.5"],
)
def test_every_cuda_name_exists_and_a_machine_without_driver_gets_an_error(root, requirements):
    folder = installed(root, *requirements)
    said, missing = look_up(LOOK_UP_CUDA, cuda_names(root), path=folder)
    assert missing == []
    assert said == "opened" or said.startswith("cudaError")
