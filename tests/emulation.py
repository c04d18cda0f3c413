"""The kernels with numpy arrays in and out: on the GPU, or emulated on the CPU by g++ (see plugins/host_cuda.h).

Without pytest, so that a machine lent for minutes needs none: benchmarks/kernel_checks.py uses this too.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

from cornernet.plugins.driver import Driver
from cornernet.plugins.launchers import Launchers

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "tests" / "plugins"
KERNELS = ROOT / "plugins" / "kernels"
TYPES = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16", np.dtype(ml_dtypes.bfloat16): "bfloat16"}
GUARD = 64  # bytes after every array that a kernel must leave alone
PATTERN = 0xA5

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
COMMON = ["-std=c++17", "-g", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", *WARNINGS]
UNDEFINED = ["-O2", "-fsanitize=undefined", "-fno-sanitize-recover=undefined"]


def compile_emulation(folder: Path, kernels: Path, *, racecheck: bool, defines: tuple[str, ...] = ()) -> Path:
    """Builds one emulated library into `folder` from the kernels in `kernels`."""
    library = folder / ("libracecheck.so" if racecheck else "libemulated.so")
    includes = [f"-I{HERE}", f"-I{kernels}", *(f"-D{define}" for define in defines)]
    sources = [HERE / "host_cuda.cpp", *([HERE / "racecheck.cpp"] if racecheck else [])]
    flags = ["-O1", "-fsanitize=thread"] if racecheck else UNDEFINED
    # Only the kernels are instrumented: the thread sanitizer's own run time is replaced by racecheck.cpp.
    steps = [
        ["g++", *COMMON, *flags, *includes, "-c", HERE / "emulated_kernels.cpp", "-o", folder / f"{library.stem}.o"],
        [
            "g++",
            *COMMON,
            *(["-O2"] if racecheck else flags),
            *includes,
            "-shared",
            folder / f"{library.stem}.o",
            *sources,
            "-o",
            library,
        ],
    ]
    for step in steps:
        subprocess.run([str(part) for part in step], check=True)
    return library


def built_emulation(*, racecheck: bool = False, defines: tuple[str, ...] = ()) -> Path:
    """The emulated library, compiled unless it is there: build/emulated/<hash of what goes into it>. Needs g++."""
    sources = sorted([*KERNELS.iterdir(), *HERE.glob("*.cpp"), *HERE.glob("*.h"), Path(__file__)])
    content = b"".join(path.read_bytes() for path in sources) + " ".join(defines).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    folder = ROOT / "build" / "emulated" / f"{digest}-{'racecheck' if racecheck else 'plain'}"
    library = folder / ("libracecheck.so" if racecheck else "libemulated.so")
    if not library.exists():
        # Two test processes may build it at once, and neither may load what the other has half linked: each builds
        # aside, and the first to be done gives its folder the name.
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=folder.name, dir=folder.parent))
        compile_emulation(aside, KERNELS, racecheck=racecheck, defines=defines)
        try:
            aside.rename(folder)
        except OSError:
            shutil.rmtree(aside)
    return library


class HostMemory:
    """Memory that emulated kernels work on."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def put(self, data: np.ndarray, offset: int = 0) -> int:
        block = np.full(data.nbytes + 2 * GUARD, PATTERN, np.uint8)
        begin = -block.ctypes.data % GUARD + offset  # aligned as cudaMalloc aligns, then moved off on purpose
        block[begin : begin + data.nbytes] = np.frombuffer(data.tobytes(), np.uint8)
        self._kept.append(block)
        return block.ctypes.data + begin

    def get(self, address: int, size: int) -> np.ndarray:
        return np.frombuffer(ctypes.string_at(address, size), np.uint8)

    def free_all(self) -> None:
        self._kept.clear()


class DeviceMemory:
    """Memory of the GPU."""

    def __init__(self, driver: Driver):
        self._driver = driver

    def put(self, data: np.ndarray, offset: int = 0) -> int:
        block = np.full(offset + data.nbytes + GUARD, PATTERN, np.uint8)
        block[offset : offset + data.nbytes] = np.frombuffer(data.tobytes(), np.uint8)
        address = self._driver.allocate(block.nbytes)
        self._driver.to_device(address, block.ctypes.data, block.nbytes)
        return address + offset

    def get(self, address: int, size: int) -> np.ndarray:
        self._driver.synchronize()
        data = np.empty(size, np.uint8)
        self._driver.to_host(data.ctypes.data, address, size)
        return data

    def free_all(self) -> None:
        self._driver.free_all()


class Kernels:
    """The launchers with numpy arrays in and out, and a check that nothing outside the outputs was written."""

    def __init__(self, library: Path, memory: HostMemory | DeviceMemory):
        self.launchers = Launchers(library)
        self.memory = memory
        self.stream = 0
        self.offset = 0  # bytes by which inputs and outputs are moved off 16-byte alignment

    @property
    def is_emulated(self) -> bool:
        return isinstance(self.memory, HostMemory)

    def configure(self, *, seed: int = 0, compute_capability: int = 9, multiprocessors: int = 132) -> None:
        """Thread order and pretended GPU of the emulation; a real GPU has its own."""
        if self.is_emulated:
            self.launchers.library.host_cuda_configure(seed, compute_capability, multiprocessors)

    def pretend(self, *, device: int, compiled_for: int = 90, active_clusters: int = 16) -> None:
        """A GPU of the emulation that was not asked before: what nvcc compiled for, how many clusters fit at once."""
        self.launchers.library.host_cuda_clusters(device, compiled_for, active_clusters)

    def put(self, data: np.ndarray) -> int:
        return self.memory.put(np.ascontiguousarray(data), self.offset)

    def room(self, shape: tuple[int, ...], dtype: object) -> tuple[int, tuple[int, ...], np.dtype]:
        dtype = np.dtype(dtype)
        filled = np.full(int(np.prod(shape)) * dtype.itemsize, PATTERN, np.uint8)
        return self.memory.put(filled, self.offset), shape, dtype

    def workspace(self, size: int) -> int:
        return self.memory.put(np.random.default_rng(size).integers(0, 256, size, np.uint8))

    def result(self, room: tuple[int, tuple[int, ...], np.dtype]) -> np.ndarray:
        address, shape, dtype = room
        size = int(np.prod(shape)) * dtype.itemsize
        data = self.memory.get(address, size + GUARD // 2)
        assert (data[size:] == PATTERN).all(), "the kernel wrote behind its output"
        return data[:size].view(dtype).reshape(shape)

    def corner_pool(self, first: np.ndarray, second: np.ndarray, corner: str, layout: str = "planes") -> np.ndarray:
        channels = first.shape[1]
        inputs, shape = [first, second], first.shape
        if layout == "channels_last_8":
            padding = ((0, 0), (0, -channels % 8), (0, 0), (0, 0))
            inputs = [np.pad(each, padding).transpose(0, 2, 3, 1) for each in inputs]
            shape = inputs[0].shape
        pooled = self.room(shape, first.dtype)
        addresses = [self.put(each) for each in inputs]
        self.launchers.corner_pool(
            *addresses,
            pooled[0],
            first.shape,
            corner=corner,
            type=TYPES[first.dtype],
            layout=layout,
            stream=self.stream,
        )
        result = self.result(pooled)
        self.memory.free_all()
        return result.transpose(0, 3, 1, 2)[:, :channels] if layout == "channels_last_8" else result

    def corner_peaks(self, logits: np.ndarray, top_k: int) -> tuple[np.ndarray, ...]:
        rooms = [self.room((logits.shape[0], top_k), dtype) for dtype in (np.float32, np.int32, np.int32)]
        workspace = self.workspace(self.launchers.corner_peaks_workspace(logits.shape, top_k))
        addresses = [room[0] for room in rooms]
        self.launchers.corner_peaks(
            self.put(logits),
            *addresses,
            workspace,
            logits.shape,
            top_k=top_k,
            type=TYPES[logits.dtype],
            stream=self.stream,
        )
        results = tuple(self.result(room) for room in rooms)
        self.memory.free_all()
        return results

    def corner_windows(
        self, features: np.ndarray, cells: np.ndarray, size: int, layout: str = "planes"
    ) -> tuple[np.ndarray, ...]:
        images, channels = features.shape[:2]
        slots, depth = cells.shape[1], channels * size * size
        given, shape = features, (images, depth, slots, 1)
        if layout == "channels_last_8":
            given = np.pad(features, ((0, 0), (0, -channels % 8), (0, 0), (0, 0))).transpose(0, 2, 3, 1)
            shape = (images, slots, 1, depth + -depth % 8)
        rooms = [self.room(shape, features.dtype), *(self.room(cells.shape, np.float32) for _ in range(2))]
        self.launchers.corner_windows(
            self.put(given),
            self.put(cells.astype(np.int32)),
            *(room[0] for room in rooms),
            features.shape,
            slots,
            size=size,
            type=TYPES[features.dtype],
            layout=layout,
            stream=self.stream,
        )
        windows, columns, rows = (self.result(room) for room in rooms)
        self.memory.free_all()
        if layout == "channels_last_8":
            assert not windows[..., depth:].view(np.uint8).any(), "padding channels are 0"
            windows = windows[..., :depth].transpose(0, 3, 1, 2)
        return windows, columns, rows

    def corner_group(self, top_left, bottom_right, *, num_dets: int, **rules) -> tuple[np.ndarray, ...]:
        images, corners = top_left[0].shape
        types = [np.float32, np.int32, np.float32, np.float32, np.float32]
        inputs = [self.put(each.astype(dtype)) for side in (top_left, bottom_right) for each, dtype in zip(side, types)]
        shapes = [(images, num_dets, 4), (images, num_dets), (images, num_dets, 2), (images, num_dets), (images,)]
        rooms = [self.room(shape, dtype) for shape, dtype in zip(shapes, [np.float32] * 3 + [np.int32] * 2)]
        workspace = self.workspace(self.launchers.corner_group_workspace(images, corners))
        outputs = [room[0] for room in rooms]
        self.launchers.corner_group(
            inputs, outputs, workspace, images, corners, num_dets=num_dets, stream=self.stream, **rules
        )
        results = tuple(self.result(room) for room in rooms)
        self.memory.free_all()
        return results

    def corner_soft_nms(self, boxes, scores, labels, counts, placements, *, limit: int, **rules) -> tuple:
        images, candidates = scores.shape
        types = [np.float32, np.float32, np.int32, np.int32, np.float32]
        given = [boxes, scores, labels, counts, placements]
        inputs = [self.put(each.astype(dtype)) for each, dtype in zip(given, types)]
        shapes = [(images, limit, 4), (images, limit), (images, limit), (images,)]
        rooms = [self.room(shape, dtype) for shape, dtype in zip(shapes, [np.float32] * 2 + [np.int32] * 2)]
        outputs = [room[0] for room in rooms]
        self.launchers.corner_soft_nms(inputs, outputs, images, candidates, limit=limit, stream=self.stream, **rules)
        results = tuple(self.result(room) for room in rooms)
        self.memory.free_all()
        return results


class PretendedDevice:
    """Host memory and a clock that advances a millisecond per event: the emulated kernels do run."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._graphs: list = []
        self._clock_ms = 0.0

    def l2_bytes(self) -> int:
        return 4096

    def allocate(self, size: int) -> int:
        block = np.zeros(size + 64, np.uint8)
        self._blocks.append(block)
        return block.ctypes.data + -block.ctypes.data % 64

    def to_device(self, destination: int, source: int, size: int) -> None:
        ctypes.memmove(destination, source, size)

    def copy_on_device(self, destination: int, source: int, size: int, stream: int) -> None:
        ctypes.memmove(destination, source, size)

    def new_stream(self) -> int:
        return 0

    def new_event(self) -> int:
        return 0

    def record(self, event: int, stream: int) -> None:
        self._clock_ms += 1

    def elapsed_ms(self, start: int, stop: int) -> float:
        return 1.0

    def capture(self, stream: int, enqueue) -> int:
        self._graphs.append(enqueue)
        return len(self._graphs) - 1

    def launch_graph(self, executable: int, stream: int) -> None:
        self._graphs[executable]()

    def free_all(self) -> None:
        self._blocks.clear()
