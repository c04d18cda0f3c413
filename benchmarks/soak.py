"""`make soak MINUTES=30`: every backend that is there, pictures of all sizes, for as long as you like.

Nothing may grow and nothing may change: after each round resident memory, file descriptors and threads are read, and in
the end the boxes of the first picture are the same to the bit. Exit code 1 if not.

    python -m cornernet.benchmarks.soak --minutes 30 [MODEL ...]     # default: a tiny network with random weights
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from cornernet.benchmarks.latency.pictures import draw_picture, write_pictures
from cornernet.engine.backends import Backend
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.reading.images import ImageSource
from cornernet.trainer.deploy.open_model import open_model, runtime_of

MOST_GROWTH = 16.0
"""Resident memory [MB] that the last third of the rounds may have above the second: what an allocator keeps back."""
_FEWEST_ROUNDS = 6
_SIZES = ((60, 80), (480, 640), (640, 480), (1, 900), (900, 1), (33, 47), (768, 1024), (375, 500))
"""(height, width) [px]."""
_BAD = (b"", b"no picture", "no/such/file.jpg", np.zeros((4, 4), np.uint8), None)


@dataclass
class Soaked:
    """One backend's rounds. memory [MB], descriptors and threads: of the whole process, after each round."""

    name: str
    images: int = 0
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    unchanged: bool = True

    @property
    def growth(self) -> float:
        """Resident memory of the last third of the rounds above that of the second third [MB]."""
        third = max(1, len(self.memory) // 3)
        return median(self.memory[-third:]) - median(self.memory[third : 2 * third] or self.memory)

    def complaints(self) -> list[str]:
        """What grew or changed; the first third of the rounds is warming up."""
        found = []
        if self.growth > MOST_GROWTH:
            found.append(f"{self.name}: resident memory grew by {self.growth:.0f} MB")
        for what, counts in (("descriptors", self.descriptors), ("threads", self.threads)):
            settled = counts[len(counts) // 3 :]
            if settled[-1] > settled[0]:
                found.append(f"{self.name}: {what} grew from {settled[0]} to {settled[-1]}")
        if not self.unchanged:
            found.append(f"{self.name}: the first picture has other boxes than at the start")
        return found


def soak(models: list[Path], minutes: float) -> list[Soaked]:
    """Run all that can open these files, in turn, for so long. At least a few rounds, however short the time."""
    with contextlib.ExitStack() as stack:
        detectors = [stack.enter_context(detector) for detector in _detectors(models)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = write_pictures(folder, count=4)
        first = draw_picture(np.random.default_rng(1), 300, 400)
        starts = [_exact(detector, first) for detector in detectors]
        results = [Soaked(runtime_of(detector.backend)) for detector in detectors]
        end, rounds = time.monotonic() + 60 * minutes, 0
        while rounds < _FEWEST_ROUNDS or time.monotonic() < end:
            for detector, result in zip(detectors, results):
                result.images += _round(detector, files, np.random.default_rng(rounds % 5))
                result.memory.append(_resident())
                result.descriptors.append(_descriptors())
                result.threads.append(threading.active_count())
            rounds += 1
        for detector, result, start in zip(detectors, results, starts):
            result.unchanged = _exact(detector, first) == start
    return results


def _detectors(models: list[Path]) -> Iterator[Detector]:
    """Each file in each runtime that can run it here; one that cannot start is named."""
    for model in models:
        openers: list[Callable[[], Backend]] = [partial(open_model, model)]
        if model.suffix == ".onnx":
            openers.append(partial(open_model, model, runtime="openvino"))
        for opener in openers:
            try:
                backend = opener()
            except BackendError as error:
                print(f"{model.name}: not run: {error}", file=sys.stderr)
                continue
            yield Detector(backend, resize="fit", size=(128, 128))


def _round(detector: Detector, files: list[Path], rng: np.random.Generator) -> int:
    """Everything a service does: batches, streams, bad pictures, a stream that is left in the middle."""
    pictures = [draw_picture(rng, *_SIZES[index]) for index in rng.permutation(len(_SIZES))]
    found = detector.predict([*pictures, *_BAD, *files], batch_size=int(rng.integers(1, 5)))  # type: ignore[list-item]
    mixed: list[ImageSource] = [*files, *pictures]
    streamed = list(detector.stream(iter(mixed), batch_size=2, prefetch=3))
    left = detector.stream(iter(pictures))
    next(left)
    left.close()  # type: ignore[attr-defined]
    return len(found) + len(streamed) + 1


def _exact(detector: Detector, image: np.ndarray) -> bytes:
    found = detector.predict(image)[0]
    return found.boxes.tobytes() + found.scores.tobytes() + found.labels.tobytes()


def _resident() -> float:
    """Resident memory [MB], as the kernel counts it; where it does not say, the largest so far."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _descriptors() -> int:
    """Open file descriptors; 0 where the system does not list them."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(list(Path(folder).iterdir()))
    return 0


def table(results: list[Soaked]) -> str:
    """One line a backend: first, second third and last of what may not grow."""
    lines = [
        f"{'backend':<24}{'images':>9}{'rounds':>8}{'RSS MB':>22}{'growth':>8}{'descriptors':>14}{'threads':>10}  boxes"
    ]
    for result in results:
        third = len(result.memory) // 3
        sizes = " -> ".join(f"{result.memory[place]:.0f}" for place in (0, third, -1))
        counts = [f"{values[0]} -> {values[-1]}" for values in (result.descriptors, result.threads)]
        same = "the same" if result.unchanged else "CHANGED"
        lines.append(
            f"{result.name:<24}{result.images:>9}{len(result.memory):>8}{sizes:>22}{result.growth:>8.1f}"
            f"{counts[0]:>14}{counts[1]:>10}  {same}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("models", type=Path, nargs="*", help="model files; default: a tiny network, random weights")
    parser.add_argument("--minutes", type=float, default=10.0)
    settings = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = soak(settings.models or _tiny(Path(folder)), settings.minutes)
    print(table(results))
    complaints = [line for result in results for line in result.complaints()]
    print("\n".join(complaints) or "nothing grew, nothing changed")
    return 1 if complaints else 0


def _tiny(folder: Path) -> list[Path]:
    from cornernet.benchmarks.untrained_models import write_models

    written = write_models(folder, ("tiny",))
    return [path for path in written if path.suffix in (".safetensors", ".onnx") and "fp16" not in path.name]


if __name__ == "__main__":
    sys.exit(main())
