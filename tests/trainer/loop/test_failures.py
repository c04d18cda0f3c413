"""What ends a run from outside: memory, a killed worker, a lost process. One typed error, with a cure that helps."""

import os
import signal
import sys

import pytest
import torch

from cornernet.engine.errors import DatasetError, TrainingError
from cornernet.trainer.loop.failures import check_finite, explained


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "smaller --batch-size"),
        (MemoryError(), "smaller --batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "smaller --batch-size"),
        (RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly"), "fewer --workers"),
        (RuntimeError("[../pair.cc:553] Connection closed by peer [127.0.0.1]:1234"), "see its own message"),
    ],
)
def test_what_torch_raises_becomes_a_training_error_that_says_how_to_go_on_only_where_one_can(tmp_path, error, cure):
    with pytest.raises(TrainingError, match=cure) as raised, explained(tmp_path / "last.pt"):
        raise error
    assert "--resume" not in str(raised.value)
    (tmp_path / "last.pt").touch()
    with pytest.raises(TrainingError, match="continue with --resume"), explained(tmp_path / "last.pt"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), DatasetError("no memory of it: out of memory")])
def test_other_errors_pass_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as raised, explained(tmp_path / "last.pt"):
        raise error
    assert raised.value is error


def test_advice_after_a_loss_that_is_not_finite_can_be_followed(tmp_path):
    check_finite(1.5, 3, tmp_path)
    with pytest.raises(TrainingError, match=r"No checkpoint had been written yet\. Start a new run directory, with a "):
        check_finite(float("inf"), 3, tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(TrainingError, match=r"new run directory, with --init \S+last.safetensors, with a smaller"):
        check_finite(float("nan"), 3, tmp_path)


class Suicidal(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills a forked process")
def test_a_data_worker_that_is_killed_is_recognised(tmp_path):
    loader = torch.utils.data.DataLoader(Suicidal(), num_workers=1)
    with pytest.raises(TrainingError, match="prepares batches was killed"), explained(tmp_path / "last.pt"):
        list(loader)
