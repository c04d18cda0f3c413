"""The plugin objects, run to the end through TensorRT's interfaces: creator, plan, shapes, formats, enqueue.

Needs TensorRT's headers (TENSORRT_ROOT) but no TensorRT. On a CPU the same adapters are linked with the emulated
kernels; on a GPU they come from libcornernet_plugins.so. The results are compared with the oracles either way.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import oracles
import pytest

from cornernet import plugins
from cornernet.plugins.launchers import SOFT_NMS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLOAT, HALF, INT32, BF16 = 0, 1, 3, 7  # nvinfer1::DataType
LINEAR, HWC8 = 0, 2  # nvinfer1::TensorFormat
TYPES = {"float32": FLOAT, "float16": HALF, "bfloat16": BF16}

pytestmark = pytest.mark.tensorrt


class Tensor(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int32),
        ("format", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("extents", ctypes.c_int64 * 8),
        ("data", ctypes.c_void_p),
    ]

    def __init__(self, data: int, shape: tuple[int, ...], type: int, format: int = LINEAR):
        super().__init__(type, format, len(shape), (ctypes.c_int64 * 8)(*shape), data)


class Field(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("is_float", ctypes.c_int32),
        ("integer", ctypes.c_int32),
        ("real", ctypes.c_float),
    ]


class PluginLaunchers:
    """The methods of cornernet.plugins.launchers.Launchers, through plugin objects instead of the C entry points."""

    def __init__(self, driver: Path, library: Path, launchers):
        self._drive = ctypes.CDLL(str(driver)).drive_plugin
        self._path = str(library).encode()
        self._launchers = launchers
        self.library = launchers.library
        self.corner_peaks_workspace = launchers.corner_peaks_workspace
        self.corner_group_workspace = launchers.corner_group_workspace

    def run(
        self,
        name: str,
        fields: dict,
        inputs: list[Tensor],
        outputs: list[Tensor],
        workspace: int,
        size: int,
        stream: int,
    ) -> int:
        records = [
            Field(key.encode(), isinstance(value, float), int(value), float(value)) for key, value in fields.items()
        ]
        arrays = (Field * len(records))(*records), (Tensor * len(inputs))(*inputs), (Tensor * len(outputs))(*outputs)
        counted = [part for array in arrays for part in (array, len(array))]
        return self._drive(
            self._path,
            name.encode(),
            *counted,
            ctypes.c_void_p(workspace),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def corner_pool(self, first, second, pooled, shape, *, corner, type, layout="planes", stream=0):
        format = HWC8 if layout == "channels_last_8" else LINEAR
        tensors = [Tensor(data, shape, TYPES[type], format) for data in (first, second, pooled)]
        name = "CornerPoolTopLeft" if corner == "top_left" else "CornerPoolBottomRight"
        assert self.run(name, {}, tensors[:2], tensors[2:], 0, 0, stream) == 0

    def corner_peaks(self, logits, scores, labels, cells, workspace, shape, *, top_k, type, stream=0):
        rows = (shape[0], top_k)
        outputs = [Tensor(scores, rows, FLOAT), Tensor(labels, rows, INT32), Tensor(cells, rows, INT32)]
        size = self.corner_peaks_workspace(shape, top_k)
        assert (
            self.run(
                "CornerPeaks", {"top_k": top_k}, [Tensor(logits, shape, TYPES[type])], outputs, workspace, size, stream
            )
            == 0
        )

    def corner_windows(
        self, features, cells, windows, columns, rows, shape, slots, *, size, type, layout="planes", stream=0
    ):
        format = HWC8 if layout == "channels_last_8" else LINEAR
        sources = [Tensor(features, shape, TYPES[type], format), Tensor(cells, (shape[0], slots), INT32)]
        wide = (shape[0], shape[1] * size * size, slots, 1)
        results = [Tensor(windows, wide, TYPES[type], format)]
        results += [Tensor(each, (shape[0], slots), FLOAT) for each in (columns, rows)]
        assert self.run("CornerWindows", {"size": size}, sources, results, 0, 0, stream) == 0

    def corner_group(self, inputs, outputs, workspace, images, corners, *, num_dets, stream=0, **rules):
        sources = [Tensor(data, (images, corners), INT32 if i % 5 == 1 else FLOAT) for i, data in enumerate(inputs)]
        shapes = [(images, num_dets, 4), (images, num_dets), (images, num_dets, 2), (images, num_dets), (images,)]
        types = [FLOAT, FLOAT, FLOAT, INT32, INT32]
        results = [Tensor(*each) for each in zip(outputs, shapes, types)]
        size = self.corner_group_workspace(images, corners)
        assert self.run("CornerGroup", {"num_dets": num_dets, **rules}, sources, results, workspace, size, stream) == 0

    def corner_soft_nms(self, inputs, outputs, images, candidates, *, limit, method="gaussian", stream=0, **rules):
        shapes = [(images, candidates, 4), (images, candidates), (images, candidates), (images,), (images, 9)]
        sources = [Tensor(*each) for each in zip(inputs, shapes, [FLOAT, FLOAT, INT32, INT32, FLOAT])]
        shapes = [(images, limit, 4), (images, limit), (images, limit), (images,)]
        results = [Tensor(*each) for each in zip(outputs, shapes, [FLOAT, FLOAT, INT32, INT32])]
        fields = {"limit": limit, "method": SOFT_NMS[method], **rules}
        assert self.run("CornerSoftNms", fields, sources, results, 0, 0, stream) == 0


@pytest.fixture(scope="session")
def include_flags() -> list[str]:
    root = os.environ.get("TENSORRT_ROOT")
    if not root or not (Path(root) / "include" / "NvInferRuntime.h").is_file():
        pytest.skip("needs TensorRT headers: set TENSORRT_ROOT to a folder with include/NvInferRuntime.h")
    nvcc = shutil.which("nvcc")
    cuda = Path(
        os.environ.get("CUDA_HOME", "/usr/local/cuda" if nvcc is None else str(Path(nvcc).resolve().parents[1]))
    )
    candidates = [cuda / "include", Path("/usr/local/cuda/include")]
    found = next((folder for folder in candidates if (folder / "cuda_runtime_api.h").is_file()), None)
    if found is None:
        pytest.skip("needs the CUDA headers that TensorRT's headers include")
    return ["-isystem", f"{root}/include", "-isystem", str(found), "-Wno-deprecated-declarations"]


@pytest.fixture(scope="session")
def compiled(include_flags) -> tuple[Path, Path]:
    """The driver, and the adapters linked with the emulated kernels."""
    adapters = sorted((ROOT / "plugins" / "tensorrt").glob("*.cpp"))
    emulation = [HERE / "emulated_kernels.cpp", HERE / "host_cuda.cpp"]
    read = [*(ROOT / "plugins").rglob("*.[chu]*"), *HERE.glob("*.cpp"), *HERE.glob("*.h")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(read)) + " ".join(include_flags).encode())
    folder = ROOT / "build" / "emulated" / f"{digest.hexdigest()[:16]}-plugins"
    driver, library = folder / "libplugin_driver.so", folder / "libemulated_plugins.so"
    common = [
        "g++",
        "-std=c++17",
        "-O1",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
    ]
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*common, *include_flags, "-DPLUGIN_DRIVER_LIBRARY", HERE / "plugin_driver.cpp", "-o", driver, "-ldl"],
            check=True,
        )
        includes = [f"-I{HERE}", f"-I{ROOT / 'plugins' / 'kernels'}"]
        subprocess.run(
            [*common, "-ffp-contract=off", *include_flags, *includes, *adapters, *emulation, "-o", library, "-ldl"],
            check=True,
        )
    return driver, library


@pytest.fixture(scope="session", params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def through_plugins(request, compiled, kernels_of):
    """Kernels as in the other tests, but reached through the plugin objects."""
    driver, library = compiled
    if request.param == "cuda":
        kernels = kernels_of(None)
        library = plugins.library_path()
    else:
        kernels = kernels_of(library)
    kernels.launchers = PluginLaunchers(driver, library, kernels.launchers)
    return kernels


@pytest.mark.parametrize("corner", ["top_left", "bottom_right"])
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(np.float32, "planes"), (np.float16, "planes"), (ml_dtypes.bfloat16, "planes"), (np.float16, "channels_last_8")],
)
def test_corner_pool_plugin_matches_the_oracle(through_plugins, dtype, layout, corner):
    first, second = np.random.default_rng(0).standard_normal((2, 2, 9, 24, 40)).astype(np.float32).astype(dtype)
    pooled = through_plugins.corner_pool(first, second, corner, layout)
    np.testing.assert_array_equal(
        pooled.astype(np.float32), oracles.corner_pool(first, second, corner).astype(np.float32)
    )


def test_peaks_then_groups_through_plugins_match_the_oracles(through_plugins):
    rng = np.random.default_rng(1)
    sides = []
    for logits in rng.normal(-2, 2, (2, 2, 3, 32, 40)).astype(np.float16):
        scores, labels, cells = through_plugins.corner_peaks(logits, 50)
        expected = oracles.corner_peaks(logits, 50)
        np.testing.assert_array_equal(labels, expected[1])
        np.testing.assert_array_equal(cells, expected[2])
        np.testing.assert_allclose(scores, expected[0], rtol=1.2e-7)
        embedding, x, y = rng.normal(0, 0.5, (3, *cells.shape)).astype(np.float32)
        sides.append((scores, labels, embedding, x + cells % 40, y + cells // 40))
    for rules in ({}, {"max_distance": 0.1, "reject_zero_size": True}):
        got = through_plugins.corner_group(*sides, num_dets=200, **rules)
        for mine, theirs in zip(got, oracles.corner_group(*sides, num_dets=200, **rules)):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("dtype", "layout"), [(np.float32, "planes"), (np.float16, "channels_last_8")])
def test_windows_through_the_plugin_match_the_oracle(through_plugins, dtype, layout):
    features = np.random.default_rng(2).normal(size=(2, 9, 6, 5)).astype(dtype)
    cells = np.random.default_rng(3).integers(0, 30, (2, 12))
    for size in (1, 3):
        got = through_plugins.corner_windows(features, cells, size, layout)
        for mine, theirs in zip(got, oracles.corner_windows(features, cells, size)):
            np.testing.assert_array_equal(mine, theirs)


def test_soft_nms_through_the_plugin_is_that_of_the_c_function(through_plugins, emulated):
    rng = np.random.default_rng(4)
    boxes = rng.uniform(0, 30, (2, 40, 4)).astype(np.float32)
    boxes[..., 2:] += boxes[..., :2]
    scores = np.sort(rng.random((2, 40)), axis=1)[:, ::-1]
    rows = boxes, scores, rng.integers(0, 2, (2, 40)), np.array([40, 25])
    placements = np.array([[1, 2, 50, 40, 64, 32, 64, 48, np.nan]] * 2)
    rules = {"limit": 12, "method": "linear", "sigma": 0.25, "iou_threshold": 0.25, "min_score": 0.125, "iou_pixel": 1}
    got = through_plugins.corner_soft_nms(*rows, placements, **rules, drop_empty=True)
    for mine, theirs in zip(got, emulated.corner_soft_nms(*rows, placements, **rules, drop_empty=True)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_formats_that_have_no_kernel_are_refused_by_the_plugin(through_plugins):
    run = through_plugins.launchers.run
    map_of = lambda type, format: Tensor(64, (1, 8, 4, 4), type, format)  # noqa: E731
    assert run("CornerPoolTopLeft", {}, [map_of(FLOAT, HWC8)] * 2, [map_of(FLOAT, HWC8)], 0, 0, 0) == -100
    assert (
        run("CornerPoolTopLeft", {}, [map_of(HALF, LINEAR), map_of(HALF, HWC8)], [map_of(HALF, LINEAR)], 0, 0, 0)
        == -101
    )
    too_wide = Tensor(64, (1, 8, 4, 1025), FLOAT)
    assert run("CornerPoolTopLeft", {}, [too_wide] * 2, [too_wide], 0, 0, 0) == -8
    cells, wide = Tensor(64, (1, 3), INT32), Tensor(64, (1, 32, 3, 1), FLOAT)
    outputs = [wide, Tensor(64, (1, 3), FLOAT), Tensor(64, (1, 3), FLOAT)]
    assert run("CornerWindows", {"size": 2}, [map_of(FLOAT, LINEAR), cells], outputs, 0, 0, 0) == -8
    assert run("CornerPeaks", {}, [map_of(FLOAT, LINEAR)], [map_of(FLOAT, LINEAR)] * 3, 0, 0, 0) == -2


def test_driver_program_finds_nothing_wrong_with_the_plugins(compiled, include_flags, tmp_path):
    program = tmp_path / "plugin_driver"
    subprocess.run(["g++", "-std=c++17", *include_flags, HERE / "plugin_driver.cpp", "-o", program, "-ldl"], check=True)
    assert (
        "all plugins behave"
        in subprocess.run([program, compiled[1]], check=True, capture_output=True, text=True).stdout
    )
