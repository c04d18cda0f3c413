"""Whole networks with random weights in torch on a GPU: our kernels beside torch's own operators, and the pipeline.

    python -m cornernet.benchmarks.torch_networks peak|networks|pipeline --json FILE [--seconds N] [--rehearse]

peak: the largest matrix product, which the networks are compared with. networks: milliseconds from uint8 canvases on
the device to boxes on the device. pipeline: images per second through `Detector`, host to host. Rows are written after
each measurement; what does not fit into --seconds is left out, the most telling first. --rehearse: a tiny network on
the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cornernet.benchmarks.untrained_models import untrained_network
from cornernet.trainer.deploy import decode, final_boxes
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.deploy.kernel_operators import register_cuda_kernels
from cornernet.trainer.deploy.torch_backend import PRECISIONS, TorchBackend
from cornernet.trainer.network import corner_pool
from cornernet.trainer.network.cost import count_macs

SIDE, REHEARSAL_SIDE = 511, 128
ROUNDS = 20


class Setting(NamedTuple):
    """One measurement. way: eager | graph | compiled; operators: kernels | torch."""

    preset: str
    precision: str
    operators: str
    way: str
    batch: int


def settings(*, rehearse: bool) -> list[Setting]:
    """The most telling first: the product's way on both networks, then torch's operators, then what only explains."""
    if rehearse:
        return [
            Setting("tiny", precision, "torch", "eager", batch) for precision in ("fp32", "bf16") for batch in (1, 2)
        ]
    networks, batches = ("hourglass-104", "squeeze"), (1, 16, 8)
    order = [("fp16", "kernels", "graph"), ("fp16", "torch", "graph"), ("fp16", "kernels", "eager")]
    order += [("bf16", "kernels", "graph"), ("fp16", "kernels", "compiled"), ("fp16", "torch", "eager")]
    return [Setting(n, *ways, b) for ways in order for b in batches for n in networks]


def clock(run: Callable[[], Any], device: torch.device, rounds: int) -> list[float]:
    """Milliseconds per run: events of the device on a GPU, the computer's clock elsewhere."""
    times = []
    for _ in range(rounds):
        if device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop))
        else:
            began = time.perf_counter()
            run()
            times.append((time.perf_counter() - began) * 1000)
    return times


@contextlib.contextmanager
def torchs_own(device_type: str) -> Iterator[None]:
    """The kernels registered for devices of this type switched off, so that torch's own operators run."""
    custom: tuple[Any, ...] = (
        corner_pool.corner_pool_top_left,
        corner_pool.corner_pool_bottom_right,
        decode.corner_peaks_operator,
        decode.corner_windows_operator,
        decode.corner_group_operator,
        final_boxes.corner_soft_nms_operator,
    )
    with contextlib.ExitStack() as stack:
        for operator in custom:
            stack.enter_context(operator.set_kernel_enabled(device_type, enabled=False))
        yield


def operators_of(setting: Setting, device: torch.device) -> contextlib.AbstractContextManager[None]:
    return torchs_own("cuda") if setting.operators == "torch" and device.type == "cuda" else contextlib.nullcontext()


def measure(setting: Setting, device: torch.device, rounds: int) -> dict[str, Any]:
    """One row."""
    network, card = untrained_network(setting.preset)
    side = REHEARSAL_SIDE if setting.preset == "tiny" else SIDE
    deployed = DeployedNetwork(network, card, dtype=PRECISIONS[setting.precision]).to(device)
    deployed = deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (setting.batch, side, side, 3), dtype=torch.uint8, device=device)
    run: Callable[[], Any] = partial(deployed, images)
    with torch.inference_mode(), operators_of(setting, device):
        if setting.way == "compiled":
            run = partial(torch.compile(deployed, mode="reduce-overhead"), images)
        for _ in range(3):
            run()
        if setting.way == "graph":
            run = _graph_of(run)
        times = clock(run, device, rounds)
    macs = count_macs(network.config, side, side) * setting.batch
    p50 = statistics.median(times)
    return {
        **setting._asdict(),
        "side": side,
        "p50_ms": p50,
        "p90_ms": float(np.percentile(times, 90)),
        "ms_per_image": p50 / setting.batch,
        "tera_operations_per_second": 2 * macs / p50 / 1e9,
    }


def _graph_of(run: Callable[[], Any]) -> Callable[[], None]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def matmul_peak(device: torch.device, *, rehearse: bool) -> list[dict[str, Any]]:
    """Tera operations per second of the largest square product that the card was fed."""
    rows = []
    for precision in ("fp16", "bf16"):
        for size in (64,) if rehearse else (4096, 8192, 16384):
            factors = torch.randn(2, size, size, device=device, dtype=torch.float32).to(PRECISIONS[precision])
            product = partial(torch.matmul, *factors)
            clock(product, device, 3)
            p50 = statistics.median(clock(product, device, 10))
            rows.append({"precision": precision, "size": size, "tera_operations_per_second": 2 * size**3 / p50 / 1e9})
    return rows


def pipeline(device: torch.device, seconds: float, *, rehearse: bool) -> Iterator[dict[str, Any]]:
    """Images per second through Detector, from arrays in memory and from JPEG files' bytes."""
    import cv2

    from cornernet.engine.detector import Detector

    rng = np.random.default_rng(0)
    count, shape = (6, (48, 64)) if rehearse else (256, (480, 640))
    pictures = [cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), shape[::-1]) for _ in range(count)]
    files = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]
    began = time.monotonic()
    for preset in ("tiny",) if rehearse else ("squeeze", "hourglass-104"):
        network, card = untrained_network(preset)
        backend = TorchBackend(network, card, device=device, precision="fp32" if rehearse else "fp16")
        side = REHEARSAL_SIDE if rehearse else SIDE
        with Detector(backend, resize="fit", size=(side, side)) as detector:
            for source, images in (("arrays", pictures), ("JPEG", files)):
                for batch in (1, 2) if rehearse else (16, 1):
                    if time.monotonic() - began > seconds:
                        return
                    detector.predict(images[: 4 * batch], batch_size=batch)
                    start = time.perf_counter()
                    found = detector.predict(images, batch_size=batch)
                    elapsed = time.perf_counter() - start
                    errors = [each.error for each in found if each.error]
                    facts = {"preset": preset, "backend": backend.name, "source": source, "batch": batch}
                    yield {**facts, "images_per_second": count / elapsed, "errors": errors[:1]}
        backend.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time whole networks in torch.")
    parser.add_argument("what", choices=("peak", "networks", "pipeline"))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    device = torch.device("cpu" if options.rehearse else "cuda")
    if device.type == "cuda":
        print(f"kernels: {'ours' if register_cuda_kernels() else 'not built, torch only'}")
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(row, flush=True)

    began, failed = time.monotonic(), 0
    if options.what == "peak":
        for row in matmul_peak(device, rehearse=options.rehearse):
            keep(row)
    elif options.what == "pipeline":
        for row in pipeline(device, options.seconds, rehearse=options.rehearse):
            keep(row)
            failed += bool(row["errors"])
    else:
        for setting in settings(rehearse=options.rehearse):
            if time.monotonic() - began > options.seconds:
                print(f"left out for lack of time: {setting}")
                continue
            try:
                keep(measure(setting, device, 2 if options.rehearse else ROUNDS))
            except RuntimeError as error:  # one way that fails leaves the others their numbers
                failed += 1
                keep({**setting._asdict(), "failed": str(error)[:400]})
    print(f"{len(rows) - failed} measurements passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
