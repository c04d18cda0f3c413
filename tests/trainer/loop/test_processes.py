"""Several processes, here two with gloo: they train like one, wait for each other, and end without a crash."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.loop.resume_file import load_resume


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return generate_shapes(tmp_path_factory.mktemp("data") / "shapes", train=10, val=4, seed=3)


COMMAND = ["-m", "cornernet", "train"]
OPTIONS = ["--preset", "tiny", "--size", "64x64", "--batch-size", "4", "--val-split", "none", "--set", "log_every=1"]
# standalone: the system gives a port that is free
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]


def execute(*words):
    command = [sys.executable, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done


def metrics(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("network", ["tiny", pytest.param("saccade-tiny", marks=pytest.mark.slow)])
def test_two_processes_train_like_one_with_the_same_batch_and_one_speaks(shapes, tmp_path, network):
    frozen = [*OPTIONS, "--preset", network, "--set", "freeze_batch_norm=true", "--epochs", "2"]
    alone = execute(*COMMAND, shapes, "-o", tmp_path / "one", *frozen)
    done = execute(*TORCHRUN, *COMMAND, shapes, "-o", tmp_path / "two", *frozen)
    assert (alone.stdout, done.stdout) == tuple(
        f"6 steps; weights and pictures: {tmp_path / name}\n" for name in ("one", "two")
    )
    assert "AP" not in alone.stderr
    one, two = (load_resume(tmp_path / name / "last.pt")["network"] for name in ("one", "two"))
    assert all(torch.allclose(one[name].float(), two[name].float(), atol=2e-4) for name in one)
    for row, twin in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert row["loss"] == pytest.approx(twin["loss"], rel=1e-4)


# The group's time-out is shorter than the validation: ranks must not wait for it in the group of the gradients.
TWO_RANKS = """
import sys, time, torch, torch.distributed as dist
from datetime import timedelta
from pathlib import Path
from cornernet.engine.errors import TrainingError
from cornernet.engine.scoring.coco import load_coco
from cornernet.trainer.loop import train as loop
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.progress import Progress

data, output = map(Path, sys.argv[1:])
measure = loop.measure_ap
config = TrainConfig(preset="tiny", size=(64, 64), batch_size=4, epochs=2, validate_every=1)
ranks = loop.join_ranks("cpu")
assert ranks.world == 2
dist.barrier()
dist.distributed_c10d._set_pg_timeout(timedelta(seconds=10), dist.group.WORLD)

def run_to_the_end(folder):
    run = loop._Run(config, load_coco(data, "train"), load_coco(data, "val"), output / folder, ranks)
    with Progress(2, enabled=False) as progress, loop.Interrupt() as interrupt:
        return run, run.to_the_end(progress, interrupt)

def failing(*given, **named):
    raise TrainingError("no memory left")

loop.measure_ap = failing
try:
    run_to_the_end("failed")
    raise SystemExit("the failed validation went unnoticed")
except TrainingError as error:
    assert ("no memory left" if ranks.is_main else "process 0") in str(error), error
assert (output / "failed" / "last.pt").exists()

def slow(*given, **named):
    time.sleep(13)
    loop.measure_ap = measure
    return measure(*given, **named)

loop.measure_ap = slow
run, report = run_to_the_end("slow")
mine = torch.cat([parameter.detach().flatten() for parameter in run.state.network.parameters()])
mine = torch.cat([mine, torch.tensor([report.best_ap, run.state.validated])])
both = [torch.empty_like(mine) for _ in range(2)]
dist.all_gather(both, mine)
assert torch.equal(both[0], both[1]) and report.best_ap >= 0 and run.state.validated == 2
loop.leave_ranks()
left = [name for thread in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := thread.read_text())]
assert not left, f"threads that can kill the process at its end: {left}"
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the threads of a process from /proc")
def test_two_processes_wait_for_a_validation_fail_with_it_and_end_with_equal_weights_and_no_threads(shapes, tmp_path):
    script = tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    execute(*TORCHRUN, script, shapes, tmp_path)
    rows = [row for row in metrics(tmp_path / "slow") if "AP" in row]
    assert [row["epoch"] for row in rows] == [1, 2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.slow
def test_the_readmes_command_for_several_machines_trains_on_two_that_are_one(shapes, tmp_path):
    """Each machine is a torchrun of its own, here with one process; what differs is where they meet, and the data."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"`(torchrun --nnodes [^`]*)`", readme)
    changes = {
        "torchrun": "-m torch.distributed.run",
        "FIRST:29400": f"127.0.0.1:{free_port()}",
        "--nproc-per-node 8": "--nproc-per-node 1",
        "data/mine": str(shapes),
        "runs/mine": str(tmp_path / "run"),
    }
    for written, here in changes.items():
        assert line.count(written) == 1, written
        line = line.replace(written, here)
    command = [sys.executable, *shlex.split(line), *OPTIONS, "--epochs", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    machines = [subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes) for _ in range(2)]
    try:
        said = [machine.communicate(timeout=240) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sorted(stdout for stdout, _ in said) == ["", f"6 steps; weights and pictures: {tmp_path / 'run'}\n"]
    assert len(metrics(tmp_path / "run")) == 6
