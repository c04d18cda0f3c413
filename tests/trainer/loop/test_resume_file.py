"""Resume files are read without executing anything, and whatever is wrong with one is a single kind of error."""

import pickle
import random
import subprocess
import sys
import zipfile

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop.config import TrainConfig
from cornernet.trainer.loop.resume_file import load_resume, save_resume
from cornernet.trainer.loop.state import TrainState
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset


@pytest.fixture(scope="module")
def state() -> TrainState:
    """A run after one step, with averaged weights: every part of the file holds something."""
    run = new_state()
    for parameter in run.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    run.averaged.update_parameters(run.network)
    run.step = 3
    return run


def new_state(classes: int = 2) -> TrainState:
    config = TrainConfig(preset="tiny", ema_decay=0.9)
    return TrainState(config, CornerNet(preset("tiny", classes)), torch.device("cpu"))


class _Malicious:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_run_comes_back_exactly(tmp_path, state):
    save_resume(tmp_path / "last.pt", state.as_dict())
    other = new_state()
    other.restore(load_resume(tmp_path / "last.pt"))
    assert (other.step, other.best_ap) == (3, -1.0)
    for mine, its in zip(state.averaged.state_dict().values(), other.averaged.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    assert zipfile.is_zipfile(tmp_path / "last.pt")
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3  # other programs read it as before


def test_a_resume_file_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": _Malicious()}, "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Malicious()))
    save_resume(tmp_path / "signed.pt", {"step": _Malicious()})
    for name in ("last.pt", "plain.pt", "signed.pt"):
        with pytest.raises(TrainingError, match="not a readable resume file"):
            load_resume(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_every_flipped_bit_is_noticed(tmp_path, state):
    path, chance = tmp_path / "last.pt", random.Random(5)
    save_resume(path, state.as_dict())
    whole = path.read_bytes()
    ends = [*range(120), *range(len(whole) - 200, len(whole))]
    for place in [*chance.sample(ends, 25), *(chance.randrange(len(whole)) for _ in range(15))]:
        content = bytearray(whole)
        content[place] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="not a readable resume file"):
            load_resume(path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("weights", [True, False])
def test_a_file_that_is_cut_off_is_refused_with_what_can_be_done(tmp_path, state, keep, weights):
    path = tmp_path / "last.pt"
    save_resume(path, state.as_dict())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    if weights:
        (tmp_path / "last.safetensors").touch()
    with pytest.raises(TrainingError, match=r"Start again in another directory") as raised:
        load_resume(path)
    assert (f"--init {tmp_path / 'last.safetensors'}" in str(raised.value)) is weights


KEYS = ("config", "network", "optimizer", "averaged", "scaler", "step", "best_ap")
WRONG_VALUES = [
    ("config", []), ("config", None), ("network", {}), ("network", {"x": 1}), ("network", [torch.zeros(1)]),
    ("optimizer", {}), ("optimizer", {"state": {}, "param_groups": [{}]}),
    ("optimizer", {"state": [], "param_groups": []}),
    ("optimizer", {"state": {0: 1}, "param_groups": []}), ("averaged", None), ("averaged", {1: torch.zeros(1)}),
    ("scaler", {"scale": 1.0}), ("scaler", None), ("step", -1), ("step", 1.5), ("step", True), ("step", "3"),
    ("best_ap", None), ("best_ap", float("nan")),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_file_that_lacks_an_entry_is_refused(tmp_path, state, key):
    saved = dict(state.as_dict())
    del saved[key]
    save_resume(tmp_path / "last.pt", saved)
    with pytest.raises(TrainingError, match=f"it lacks {key}"):
        load_resume(tmp_path / "last.pt")


@pytest.mark.parametrize(("key", "value"), WRONG_VALUES, ids=str)
def test_an_entry_of_another_kind_is_refused_by_name(tmp_path, state, key, value):
    save_resume(tmp_path / "last.pt", state.as_dict() | {key: value})
    with pytest.raises(TrainingError, match=f"its entry '{key}' is not"):
        load_resume(tmp_path / "last.pt")


@pytest.mark.parametrize("content", [{"weight": torch.zeros(3)}, [1, 2], torch.zeros(2), "text"], ids=str)
def test_a_file_of_another_program_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(TrainingError, match="another program"):
        load_resume(tmp_path / "last.pt")
    save_resume(tmp_path / "last.pt", content)
    with pytest.raises(TrainingError, match=r"it holds a|it lacks"):
        load_resume(tmp_path / "last.pt")


def _other_groups(saved):
    saved["optimizer"]["param_groups"][0]["params"].pop()


def _other_shapes(saved):
    saved["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["network"].popitem(),
        lambda saved: saved["averaged"].popitem(),
        lambda saved: saved["optimizer"].update(param_groups=[]),
        _other_groups,
        _other_shapes,
        lambda saved: saved["config"].update(preset="squeeze"),
        lambda saved: saved["config"].clear(),
    ],
)
def test_a_run_of_another_network_is_refused_whatever_part_shows_it(tmp_path, state, change):
    save_resume(tmp_path / "last.pt", state.as_dict())
    saved = load_resume(tmp_path / "last.pt")
    change(saved)
    with pytest.raises(TrainingError, match="cannot resume"):
        new_state().restore(saved)


WRITE_ON_A_FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop.resume_file import save_resume
path = Path(sys.argv[1])
save_resume(path, {"step": 1})
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # what a full disk does to write()
try:
    save_resume(path, {"step": 2, "weights": torch.ones(1_000_000)})
except TrainingError as error:
    print(error)
assert path.read_bytes() == before
assert [file.name for file in path.parent.iterdir()] == [path.name]
"""


def test_a_full_disk_is_a_clear_error_and_the_last_good_file_stays(tmp_path):
    command = [sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(tmp_path / "last.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "last good file" in done.stdout and "is kept" in done.stdout and "--resume" in done.stdout
