"""Processes that prepare batches end with their training, however it ends, and no sooner; they run no `__main__`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.data import workers as module
from cornernet.trainer.data.dataset import TrainBatches
from cornernet.trainer.data.sampling import CornerSampling
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.data.workers import automatic_workers
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.failures import explained

CARD = ModelCard(name="test", class_names=("rectangle", "ellipse", "triangle"), category_ids=(1, 2, 3))
CONFIG = TrainConfig(preset="tiny", size=(64, 64), batch_size=2)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("shapes"), train=20, val=0, seed=5, size=(96, 96))


def begin(shapes, workers=2):
    """The batches, an epoch of theirs that has begun, and the numbers of the processes."""
    batches = TrainBatches(
        load_coco(shapes, "train"), CornerSampling(CARD, CONFIG.size, 4, CONFIG.augment), CONFIG, workers=workers
    )
    epoch = batches.epoch(0)
    next(epoch)
    return batches, epoch, [process.pid for process in batches._loader._iterator._workers]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids):
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.parametrize(
    ("device", "cores", "room", "trainings", "expected"),
    [
        ("cpu", 32, 10**12, 1, 0),
        ("cuda", 32, 10**12, 1, module.MOST),
        ("cuda", 4, 10**12, 1, 3),
        ("cuda", 1, 10**12, 1, 1),
        ("cuda", 8, 10**12, 4, 1),
        ("cuda", 32, 64 * 10**6, 1, 2),  # 64 MB, as docker gives them, hold 2 x 2 batches of 10 MB and the two in use
        ("cuda", 32, 64 * 10**6, 4, 0),
    ],
)
def test_as_many_help_beside_a_gpu_as_there_are_cores_and_shared_memory(
    monkeypatch, tmp_path, device, cores, room, trainings, expected
):
    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(module, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": room}))
    assert automatic_workers(torch.device(device), 10 * 10**6, trainings=trainings) == expected


@linux
def test_workers_outlive_a_signal_to_everybody_and_end_when_they_are_closed(shapes):
    batches, epoch, pids = begin(shapes)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        for pid in pids:
            os.kill(pid, number)
    assert len(list(epoch)) == batches.steps_per_epoch - 1
    batches.close()  # although `epoch` still refers to them
    assert gone(pids)


# A script as people write it: it does not ask whether it is the main module.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_workers
print("began", flush=True)
kept = test_workers.begin(Path({shapes!r}))
print(*kept[2], flush=True)
time.sleep(100)
"""


@linux
@pytest.mark.slow
def test_workers_end_with_a_training_that_is_killed_and_do_not_run_its_script(shapes, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), shapes=str(shapes)))
    training = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert training.stdout.readline() == "began\n"
    pids = [int(word) for word in training.stdout.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    training.kill()
    training.wait()
    assert gone(pids)
    assert training.stdout.read() == ""


@linux
@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_typed_error(shapes, tmp_path):
    batches, epoch, pids = begin(shapes, workers=1)
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(TrainingError, match="prepares batches was killed"), explained(tmp_path / "last.pt"):
        list(epoch)
    batches.close()
