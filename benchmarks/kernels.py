"""Kernel benchmark: time and bandwidth of each CUDA kernel, beside the card's own copy and the same work in torch.

    python -m cornernet.benchmarks.kernels [--json FILE]

A measurement is a CUDA graph of many launches between two events, so no Python and no launch gap is in it. Launches
take turns over enough buffers that none finds its input in the L2 cache ("cold"), and are measured again on one set
("cached"): a network leaves the input of a small batch in cache. "of copy" compares with a device-to-device copy of as
many bytes as the kernel must move, measured in the same way a moment earlier.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cornernet import plugins
from cornernet.benchmarks import kernels_in_torch
from cornernet.plugins.driver import Driver, DriverError
from cornernet.plugins.launchers import Launchers

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
WINDOW = 3  # of corner_windows: what the paper's heads are
NO_GPU = 2  # exit code


class Device(Protocol):
    """What a measurement needs of a GPU; `cornernet.plugins.driver.Driver` is one."""

    def l2_bytes(self) -> int: ...
    def allocate(self, size: int) -> int: ...
    def to_device(self, destination: int, source: int, size: int) -> None: ...
    def copy_on_device(self, destination: int, source: int, size: int, stream: int) -> None: ...
    def new_stream(self) -> int: ...
    def new_event(self) -> int: ...
    def record(self, event: int, stream: int) -> None: ...
    def elapsed_ms(self, start: int, stop: int) -> float: ...
    def capture(self, stream: int, enqueue: Callable[[], None]) -> int: ...
    def launch_graph(self, executable: int, stream: int) -> None: ...
    def free_all(self) -> None: ...


@dataclass(frozen=True)
class Case:
    """One row: an operator at one shape. `moved_bytes` is what must cross the memory bus: inputs once, outputs once."""

    operator: str
    shape: tuple[int, ...]
    type: str
    layout: str = "planes"
    top_k: int = 100
    num_dets: int = 1000
    target_us: float | None = None  # on an H200; None where the target is a share of copy bandwidth

    @property
    def input_bytes(self) -> int:
        images, size = self.shape[0], BYTES[self.type]
        return {
            "corner_pool": 2 * math.prod(self.shape) * size,
            "corner_peaks": math.prod(self.shape) * size,
            "corner_windows": images * self.top_k * (self.shape[1] * WINDOW**2 * size + 4),
            "corner_group": images * self.top_k * 40,
            "corner_soft_nms": images * self.num_dets * 24,
        }[self.operator]

    @property
    def output_bytes(self) -> int:
        images, input_bytes = self.shape[0], self.input_bytes
        return {
            "corner_pool": input_bytes // 2,
            "corner_peaks": images * self.top_k * 12,
            "corner_windows": input_bytes + images * self.top_k * 4,
            "corner_group": images * (self.num_dets * 32 + 4),
            "corner_soft_nms": images * self.top_k * 24,
        }[self.operator]

    @property
    def moved_bytes(self) -> int:
        return self.input_bytes + self.output_bytes


CASES = [
    Case("corner_pool", (1, 128, 128, 128), "float16", target_us=6),
    Case("corner_pool", (8, 128, 128, 128), "float16"),
    Case("corner_pool", (1, 128, 128, 128), "float16", "channels_last_8", target_us=6),
    Case("corner_pool", (8, 128, 128, 128), "float16", "channels_last_8"),
    Case("corner_pool", (8, 128, 128, 128), "float32"),
    Case("corner_pool", (8, 128, 127, 129), "float16"),
    Case("corner_peaks", (1, 80, 128, 128), "float16", target_us=15),
    Case("corner_peaks", (8, 80, 128, 128), "float16"),
    Case("corner_peaks", (8, 80, 128, 128), "float32"),
    Case("corner_peaks", (1, 80, 128, 128), "float16", top_k=1000),
    Case("corner_windows", (1, 256, 128, 128), "float16", "channels_last_8", target_us=5),
    Case("corner_windows", (16, 256, 128, 128), "float16", "channels_last_8", target_us=10),
    Case("corner_windows", (16, 256, 128, 128), "float16"),
    Case("corner_group", (1, 1), "float32", target_us=10),
    Case("corner_group", (8, 1), "float32"),
    Case("corner_group", (1, 1), "float32", top_k=1000, num_dets=3840, target_us=100),
    Case("corner_soft_nms", (16, 1), "float32", target_us=100),
]


class Stopwatch:
    """Times what is enqueued on one stream. The rotation of buffers is the caller's: it is given the turn."""

    def __init__(self, device: Device, *, launches: int = 50, rounds: int = 20):
        self.device, self.launches, self.rounds = device, launches, rounds
        self.stream = device.new_stream()
        self._start, self._stop = device.new_event(), device.new_event()

    def microseconds(self, enqueue: Callable[[int], None]) -> float:
        """Median time of one `enqueue(turn)`."""
        enqueue(0)  # loads the kernel: must not happen during a capture

        def many() -> None:
            for turn in range(self.launches):
                enqueue(turn)

        graph = self.device.capture(self.stream, many)
        times = []
        for _ in range(self.rounds + 3):
            self.device.record(self._start, self.stream)
            self.device.launch_graph(graph, self.stream)
            self.device.record(self._stop, self.stream)
            times.append(self.device.elapsed_ms(self._start, self._stop) * 1000 / self.launches)
        return statistics.median(times[3:])


def enqueuer(device: Device, launchers: Launchers, case: Case, buffers: int, stream: int) -> Callable[[int], None]:
    """Allocates `buffers` sets of inputs and outputs; the result launches the case on set `turn % buffers`."""

    def put(data: np.ndarray) -> int:
        address = device.allocate(data.nbytes)
        device.to_device(address, data.ctypes.data, data.nbytes)
        return address

    rng = np.random.default_rng(0)
    images, slots, dets = case.shape[0], case.top_k, case.num_dets
    if case.operator == "corner_soft_nms":
        corner = rng.uniform(0, 400, (images, dets, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(1, 60, corner.shape)), axis=2).astype(np.float32)
        best_first = np.sort(rng.random((images, dets), np.float32), axis=1)[:, ::-1].copy()
        placements = np.array([[0, 0, 511, 511, 1, 1, 1, 1, np.nan]] * images, np.float32)
        found = [boxes, best_first, rng.integers(0, 5, (images, dets), np.int32), np.full(images, dets, np.int32)]
        given = [put(each) for each in (*found, placements)]
        finals = [device.allocate(images * size) for size in (slots * 16, slots * 4, slots * 4, 4)]
        return lambda turn: launchers.corner_soft_nms(given, finals, images, dets, limit=slots, stream=stream)
    if case.operator == "corner_group":
        # A busy picture: five classes, embeddings of which a third are close.
        labels = [put(rng.integers(0, 5, (images, slots), dtype=np.int32)) for _ in range(2)]
        fields = [put(rng.normal(0, 1, (images, slots)).astype(np.float32)) for _ in range(8)]
        inputs = [fields[0], labels[0], *fields[1:4], fields[4], labels[1], *fields[5:8]]
        outputs = [device.allocate(images * size) for size in (dets * 16, dets * 4, dets * 8, dets * 4, 4)]
        scratch = device.allocate(launchers.corner_group_workspace(images, slots))
        return lambda turn: launchers.corner_group(
            inputs, outputs, scratch, images, slots, num_dets=dets, stream=stream
        )
    noise = rng.normal(-3, 2, case.shape).astype(case.type)
    if case.operator == "corner_pool":
        maps = [(put(noise), put(noise[..., ::-1].copy()), device.allocate(noise.nbytes)) for _ in range(buffers)]
        return lambda turn: launchers.corner_pool(
            *maps[turn % buffers], case.shape, corner="top_left", type=case.type, layout=case.layout, stream=stream
        )
    if case.operator == "corner_windows":
        features = [put(noise) for _ in range(buffers)]
        cells = put(rng.integers(0, math.prod(case.shape[2:]), (images, slots), dtype=np.int32))
        sizes = case.input_bytes, images * slots * 4, images * slots * 4
        windows, columns, rows = (device.allocate(size) for size in sizes)
        rules: dict[str, Any] = {"size": WINDOW, "type": case.type, "layout": case.layout, "stream": stream}
        return lambda turn: launchers.corner_windows(
            features[turn % buffers], cells, windows, columns, rows, case.shape, slots, **rules
        )
    logits = [put(noise) for _ in range(buffers)]
    scores, labels_out, cells = (device.allocate(images * slots * 4) for _ in range(3))
    scratch = device.allocate(launchers.corner_peaks_workspace(case.shape, slots))

    def peaks(turn: int) -> None:
        outputs = scores, labels_out, cells
        launchers.corner_peaks(
            logits[turn % buffers], *outputs, scratch, case.shape, top_k=slots, type=case.type, stream=stream
        )

    return peaks


def measure(device: Device, launchers: Launchers, case: Case, watch: Stopwatch) -> dict[str, Any]:
    """One row of the table."""
    half = case.moved_bytes // 2  # a copy of so many bytes reads and writes as much as the kernel
    cold = min(max(1, -(-4 * device.l2_bytes() // case.moved_bytes)), watch.launches)  # sets that overflow the L2 cache
    sources = [(device.allocate(half), device.allocate(half)) for _ in range(cold)]

    def copy(turn: int) -> None:
        source, destination = sources[turn % cold]
        device.copy_on_device(destination, source, half, watch.stream)

    copy_us = watch.microseconds(copy)
    device.free_all()
    cold_us = watch.microseconds(enqueuer(device, launchers, case, cold, watch.stream))
    device.free_all()
    cached_us = watch.microseconds(enqueuer(device, launchers, case, 1, watch.stream))
    device.free_all()
    return {
        **asdict(case),
        "cold_us": cold_us,
        "cached_us": cached_us,
        "gigabytes_per_second": case.moved_bytes / cold_us / 1000,
        "share_of_copy": copy_us / cold_us,
        "copy_us": copy_us,
        "torch_us": kernels_in_torch.microseconds(case.operator, case.shape, case.type, case.top_k),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| kernel | shape | type | K | cold us | cached us | GB/s | of copy | target us | torch us | times faster |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        shape = "x".join(map(str, row["shape"])) + (" kHWC8" if row["layout"] != "planes" else "")
        target = f"{row['target_us']:.0f}" if row["target_us"] else "-"
        slots = "-" if row["operator"] == "corner_pool" else str(row["top_k"])
        fastest = min(row["torch_us"].values(), default=None)
        torch_us = ", ".join(f"{name} {value:.0f}" for name, value in row["torch_us"].items()) or "not run"
        ratio = f"{fastest / row['cold_us']:.0f}" if fastest else "-"
        speed = f"{row['gigabytes_per_second']:.0f} | {row['share_of_copy']:.0%}"
        numbers = f"{row['cold_us']:.1f} | {row['cached_us']:.1f} | {speed}"
        lines.append(
            f"| {row['operator']} | {shape} | {row['type']} | {slots} | {numbers} | {target} | {torch_us} | {ratio} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time and bandwidth of the CUDA kernels.")
    parser.add_argument("--json", type=Path, help="write the rows here too, after each of them")
    parser.add_argument("--rehearse", action="store_true", help="small cases of the emulated kernels; no times")
    options = parser.parse_args(arguments)
    if options.rehearse:
        return _rehearse(options.json)
    library = plugins.library_path()
    if library is None:
        print("no plugin library. Build it with: cmake -B build && cmake --build build -j2", file=sys.stderr)
        return NO_GPU
    try:
        device = Driver()
    except DriverError as error:
        print(f"the kernel benchmark needs an NVIDIA GPU: {error}", file=sys.stderr)
        return NO_GPU
    with device:
        watch = Stopwatch(device)
        launchers = Launchers(library)
        print(f"{device.device_name}, compute capability {'.'.join(map(str, device.compute_capability()))}\n")
        rows = _measure_all(device, launchers, CASES, watch, options.json, device.device_name)
    print(table(rows))
    return 0


def _measure_all(
    device: Device, launchers: Launchers, cases: list[Case], watch: Stopwatch, file: Path | None, gpu: str
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for case in cases:
        rows.append(measure(device, launchers, case, watch))
        if file is not None:
            file.write_text(json.dumps({"gpu": gpu, "kernels": rows}, indent=1), encoding="utf-8")
    return rows


def _rehearse(file: Path | None) -> int:
    """The whole way to the table without a GPU: one small case of each operator, on the emulation."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import emulation

    cases = [
        Case("corner_pool", (1, 8, 16, 16), "float16", "channels_last_8"),
        Case("corner_peaks", (1, 2, 16, 16), "float16", top_k=10),
        Case("corner_windows", (1, 8, 16, 16), "float16", "channels_last_8", top_k=10),
        Case("corner_group", (1, 1), "float32", top_k=10, num_dets=20),
        Case("corner_soft_nms", (1, 1), "float32", top_k=10, num_dets=20),
    ]
    device = emulation.PretendedDevice()
    launchers = Launchers(emulation.built_emulation())
    watch = Stopwatch(device, launches=2, rounds=1)
    print(table(_measure_all(device, launchers, cases, watch, file, "rehearsal")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
