"""Which device a training process takes."""

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop import distributed


@pytest.mark.parametrize(("asked", "local_rank", "taken"), [("cuda", "0", 0), ("cuda", "3", 3), ("cuda:1", "3", 1)])
def test_cuda_without_a_number_is_the_gpu_of_this_rank(monkeypatch, asked, local_rank, taken):
    current = []
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    # Like torch's: a device without a number is refused.
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(int(device.index)))
    assert distributed.join_ranks(asked).device == torch.device("cuda", taken)
    assert current == [taken]


@pytest.mark.parametrize("asked", ["gpu", "cuda:2", "cuda:x", "mps", ""])
def test_a_device_that_is_not_there_is_refused_with_the_ones_that_are(monkeypatch, asked):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="cpu, cuda:0, cuda:1"):
        distributed.join_ranks(asked)


def test_alone_the_work_of_the_main_process_is_done_at_once():
    alone = distributed.Ranks(0, 1, torch.device("cpu"))
    assert alone.on_main(lambda: 0.25) == 0.25
    assert alone.on_main(lambda: None) == 0
    with pytest.raises(ZeroDivisionError):
        alone.on_main(lambda: 1 / 0)


@pytest.mark.parametrize(("rank", "speaks"), [(None, True), ("0", True), ("3", False)])
def test_one_process_speaks(monkeypatch, rank, speaks):
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert distributed.is_main_process() is speaks
