"""What a TensorRT engine does on its GPU: times without Python, layers, streams beside each other, memory.

    python -m cornernet.benchmarks.engine_times ENGINE ... [--batch 1,8,16] [--streams 1,2] [--layers] [--json FILE]

batch: upload, network and download, as one launch; compute: the network alone; both measured by events on the device.
images_per_second: threads that call `run` side by side. Rows are written after each engine and batch size.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cornernet.engine.backends.tensorrt import TensorRTBackend
from cornernet.engine.errors import CornerNetError

PERCENTILES = (50, 90, 99)


def measure(backend: TensorRTBackend, canvases: np.ndarray, *, runs: int, streams: tuple[int, ...]) -> dict[str, Any]:
    """One row: milliseconds on the device, and images per second of so many threads."""
    times = backend.time_on_gpu(canvases, runs)
    return {
        "batch": len(canvases),
        "canvas": "x".join(map(str, canvases.shape[1:3])),
        **{f"batch_p{p}_ms": float(np.percentile(times.batch, p)) for p in PERCENTILES},
        **{f"compute_p{p}_ms": float(np.percentile(times.compute, p)) for p in PERCENTILES},
        **{f"images_per_second_{n}": images_per_second(backend.run, canvases, n, runs) for n in streams},
    }


def images_per_second(run: Callable[[np.ndarray], Any], canvases: np.ndarray, threads: int, runs: int) -> float:
    """Of `threads` callers, each with `runs` batches."""

    def serve() -> None:
        for _ in range(runs):
            run(canvases)

    callers = [threading.Thread(target=serve) for _ in range(threads)]
    began = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return threads * runs * len(canvases) / (time.perf_counter() - began)


def main(arguments: list[str] | None = None, opener: Callable[..., TensorRTBackend] = TensorRTBackend) -> int:
    parser = argparse.ArgumentParser(description="Time TensorRT engines on the device.")
    parser.add_argument("engines", type=Path, nargs="+")
    parser.add_argument("--batch", default="1,8,16")
    parser.add_argument("--streams", default="1,2", help="callers side by side")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--layers", action="store_true", help="milliseconds of each layer too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    streams = tuple(int(number) for number in options.streams.split(","))
    rows: list[dict[str, Any]] = []
    failed = 0
    for path in options.engines:
        try:
            backend = opener(path, workers=max(streams))
        except CornerNetError as error:
            print(f"{path}: {error}")
            failed += 1
            continue
        height, width = backend.facts.profiles[0].opt[1:]
        memory = {
            "weights_mb": backend.facts.engine.bytes / 1e6,
            "scratch_mb": max(backend.facts.scratch_bytes, default=0) / 1e6,
        }
        for batch in (int(number) for number in options.batch.split(",")):
            canvases = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
            try:
                row = {"engine": path.name, **memory, **measure(backend, canvases, runs=options.runs, streams=streams)}
                if options.layers:
                    row["layers_ms"] = backend.time_layers(canvases)
            except CornerNetError as error:  # a batch size that no profile holds
                row = {"engine": path.name, "batch": batch, "failed": str(error)[:300]}
            rows.append(row)
            print(row, flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        backend.close()
    print(f"{len(rows)} measurements passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
