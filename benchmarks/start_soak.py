"""`make soak-starts`: the processes that prepare batches, begun 200 times and ended in every way there is.

Nothing may hang and no process may be left: each start has a limit of time, after each its processes are looked for.
Most begin two workers in this process; every tenth is a whole training, told to end at a random moment: Ctrl-C or
SIGTERM to all of its processes, SIGKILL to the first. Exit code 1 if anything is wrong. Linux only.

    python -m cornernet.benchmarks.start_soak --starts 200
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

from cornernet.engine.errors import CornerNetError
from cornernet.engine.scoring.coco import CocoDataset, load_coco
from cornernet.trainer.data.dataset import TrainBatches
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop.card import make_card
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.failures import explained
from cornernet.trainer.loop.method import method_of
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset

LIMIT_SECONDS = 180
"""A start that takes longer hangs, also on a machine that does much besides."""

GONE_SECONDS = 30
"""After its end a start's processes are gone."""

WORKERS = 2
_MARK = "CORNERNET_START"
_ENDINGS = {
    "whole epoch": "",
    "left early": "",
    "never closed": "",
    "unreadable images": "none of the 8 images",
    "worker killed": "prepares batches was killed",
}
"""How a start in this process ends, and what the error says that it ends with."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

_TRAINING = """
import sys
from pathlib import Path
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.train import train

shapes, output, workers = sys.argv[1:]
config = TrainConfig(preset="tiny", size=(64, 64), batch_size=2, epochs=60, workers=int(workers))
report = train(config, load_coco(Path(shapes), "train"), None, Path(output), device="cpu", quiet=True)
raise SystemExit(130 if report.interrupted else 0)
"""


class StartError(CornerNetError):
    """A start came to a wrong end, or left a process."""


def soak(starts: int, folder: Path, *, seed: int = 0, every: int = 10) -> Counter[str]:
    """How often each ending came; every so-manieth start is a whole training. Raises StartError.

    A start that hangs ends this process, with a traceback of each thread.
    """
    chance, endings = random.Random(seed), Counter[str]()
    shapes = generate_shapes(folder / "shapes", train=8, val=0, size=(64, 64))
    data = load_coco(shapes, "train")
    # Before the fork server begins, which hands it on.
    mark = os.environ[_MARK] = uuid.uuid4().hex
    try:
        for start in range(starts):
            faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True, file=2)
            if start % every == every - 1:
                ending = _train(shapes, folder / f"run{start}", chance)
            else:
                ending = _begin(data, tuple(_ENDINGS)[start % len(_ENDINGS)])
                _expect_none(mark, f"start {start} ({ending})")
            endings[ending] += 1
            print(f"\r{start + 1} starts", end="", file=sys.stderr, flush=True)
    finally:
        faulthandler.cancel_dump_traceback_later()
        del os.environ[_MARK]
    return endings


def _begin(data: CocoDataset, ending: str) -> str:
    """Two workers in this process."""
    if ending == "unreadable images":
        data = replace(data, samples=tuple(replace(one, path=one.path / "gone") for one in data.samples))
    config = TrainConfig(preset="tiny", size=(64, 64), batch_size=1)
    network = preset("tiny", len(data.class_names))
    sampling = method_of(network, make_card(config, CornerNet(network), data), config).sampling
    batches = TrainBatches(data, sampling, config, workers=WORKERS, report=lambda line: None)
    said = ""
    try:
        with explained(Path("last.pt")):
            for step, _ in enumerate(batches.epoch(0)):
                if ending == "worker killed" and step == 0:
                    os.kill(_marked(os.environ[_MARK])[0], signal.SIGKILL)
                if ending == "left early":
                    break
    except CornerNetError as error:
        said = str(error)
    if _ENDINGS[ending] not in said or (said and not _ENDINGS[ending]):
        raise StartError(f"a start that ends by '{ending}' said {said!r}")
    if ending != "never closed":
        batches.close()
    return ending


def _train(shapes: Path, output: Path, chance: random.Random) -> str:
    """A whole training in a session of its own."""
    number, moment, mark = chance.choice(_SIGNALS), chance.uniform(0, 20), uuid.uuid4().hex
    training = subprocess.Popen(
        [sys.executable, "-c", _TRAINING, shapes, output, str(WORKERS)], env={**os.environ, _MARK: mark},
        start_new_session=True, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        training.wait(moment)
    except subprocess.TimeoutExpired:
        (os.kill if number == signal.SIGKILL else os.killpg)(training.pid, number)
    said = training.communicate(timeout=LIMIT_SECONDS)[1]
    what = f"training, {number.name} after {moment:.1f} s"
    # 0: it was done before; 130: interrupted; the signal itself: before anything listened.
    if training.returncode not in (0, 130, -number):
        raise StartError(f"{what}: exit code {training.returncode}: {said}")
    _expect_none(mark, what)
    return f"training, {number.name}"


def _marked(mark: str) -> list[int]:
    """Processes with this mark, but for this one and what Python keeps beside it: the fork server and the tracker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
        if marked and os.getpid() not in (int(folder.name), parent):
            found.append(int(folder.name))
    return sorted(found)


def _expect_none(mark: str, what: str) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while left := _marked(mark):
        if time.monotonic() > deadline:
            raise StartError(f"{what} left the processes {left}")
        time.sleep(0.02)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--every", type=int, default=10, help="which of them are whole trainings")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            endings = soak(options.starts, Path(folder), seed=options.seed, every=options.every)
        except StartError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    print(f"\n{options.starts} starts of {WORKERS} workers: none hung, no process was left")
    for ending, count in endings.most_common():
        print(f"{count:5d}  {ending}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
