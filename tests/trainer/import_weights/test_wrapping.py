"""Weights as training programs save them: in larger files, under prefixes, with averages and diaries beside them."""

import collections
import json
import os
import sys
import types

import numpy as np
import pytest
import torch

from cornernet.engine.errors import ModelError
from cornernet.trainer.import_weights import import_checkpoint
from cornernet.trainer.import_weights.weight_file import read_weight_file
from cornernet.trainer.import_weights.wrapping import bare_names, unwrapped

STATE = {"kps.0.weight": torch.ones(2), "kps.0.bias": torch.zeros(1)}


def read(content, path, **options):
    torch.save(content, path, **options)
    return read_weight_file(path).tensors


def with_prefix(prefix: str, state=STATE):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "module.module.", "model.", "model.module.", "module.model."])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "optimizer": {"state": {}}, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        lambda state: {"net": state},
        lambda state: {"network": state},
        lambda state: {"params": state},
        lambda state: {"ema_state_dict": {"steps": torch.tensor(9), **state}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict": {}, "model": state},
        lambda state: {"n_averaged": torch.tensor(5), **state},
    ],
)
def test_containers_and_prefixes_are_taken_off(tmp_path, prefix, wrap):
    tensors = read(wrap(with_prefix(prefix)), tmp_path / "x.pth")
    assert list(tensors) == list(STATE)
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)


def test_a_prefix_that_not_all_names_share_stays():
    mixed = {"module.kps.0": torch.ones(1), "pre.0": torch.ones(1)}
    assert list(bare_names(mixed)) == list(mixed)


def test_the_weights_win_over_averages_in_another_container(tmp_path):
    content = {"ema_state_dict": {"module.kps.0.weight": torch.zeros(2)}, "state_dict": with_prefix("module.")}
    assert torch.equal(read(content, tmp_path / "x.pth")["kps.0.weight"], torch.ones(2))


def test_a_container_that_holds_itself_is_refused(tmp_path):
    content: dict = {}
    content["state_dict"] = content
    with pytest.raises(ModelError, match="entry 'state_dict' is dict"):
        read(content, tmp_path / "x.pth")
    assert unwrapped(3) == 3


@pytest.fixture(scope="module")
def mmdetection_names(golden):
    keys = json.loads((golden / "f_network" / "mmdet_cornernet_state_dict_keys.json").read_text())["keys"]
    return [name for name, _, _ in keys]


def averages_of(state):
    return {"ema_" + name.replace(".", "_"): tensor + 1 for name, tensor in state.items()}


def test_plain_weights_win_over_the_buffers_of_mmcvs_averaging_hook(mmdetection_names):
    state = {name: torch.zeros(1) for name in mmdetection_names}
    for averages in (averages_of(state), averages_of({name: state[name] for name in mmdetection_names[::3]})):
        bare = bare_names(with_prefix("module.", state | averages))
        assert list(bare) == mmdetection_names
        assert not any(tensor.any() for tensor in bare.values())


def test_a_file_of_nothing_but_averages_is_read_from_them(mmdetection_names):
    statistics = {name: torch.zeros(1) for name in mmdetection_names if "running" in name or "tracked" in name}
    weights = {name: torch.zeros(1) for name in mmdetection_names if name not in statistics}
    for kept in ({}, statistics):  # one hook of mmdetection averages the statistics too, mmcv's does not
        covered = weights if kept else weights | statistics
        bare = bare_names(kept | averages_of(covered))
        assert set(bare) == set(mmdetection_names)
        assert all(bare[name].any() for name in covered)


def test_counters_that_are_lists_of_one_number_are_taken(tmp_path, golden):
    keys = json.loads((golden / "f_network" / "squeeze_state_dict_keys.json").read_text())["keys"]
    state = {
        name: torch.zeros(shape or (1,), dtype=getattr(torch, dtype))
        if "tracked" in name
        else torch.zeros(1).expand(shape)
        for name, shape, dtype in keys
    }
    torch.save(state, tmp_path / "x.pkl")
    network, _ = import_checkpoint(tmp_path / "x.pkl")
    counters = [buffer for name, buffer in network.named_buffers() if name.endswith("num_batches_tracked")]
    assert counters and all(counter.shape == () for counter in counters)


@pytest.fixture
def history_buffer(monkeypatch):
    """mmengine's class, as far as pickle sees it; gone again when the file is read."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self):
            self._max_length = 1000
            self._log_history = np.array([1.0, 2.0])
            self._count_history = np.array([1, 1])
            self._current = np.float64(2.0)
            self._statistics_methods = collections.OrderedDict(min=HistoryBuffer.min)

        def min(self):
            raise AssertionError("never called")

        def __setstate__(self, state):
            raise AssertionError("something in the file was executed")

    for thing in (HistoryBuffer, HistoryBuffer.min):
        thing.__module__, thing.__qualname__ = module.__name__, thing.__qualname__.rpartition("<locals>.")[2]
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, module)
    return HistoryBuffer


@pytest.mark.parametrize("zipped", [True, False])
def test_an_epoch_file_of_mmdetection_3_is_read_without_its_diary(tmp_path, monkeypatch, history_buffer, zipped):
    content = {
        "meta": {"epoch": 12, "dataset_meta": {"classes": ("cat", "dog")}, "seed": np.int64(3)},
        "message_hub": {"log_scalars": collections.OrderedDict({"train/loss": history_buffer()})},
        "state_dict": collections.OrderedDict(with_prefix("module.")),
    }
    torch.save(content, tmp_path / "epoch_12.pth", _use_new_zipfile_serialization=zipped)
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.delitem(sys.modules, name)
    file = read_weight_file(tmp_path / "epoch_12.pth")
    assert list(file.tensors) == list(STATE) and file.class_names == ("cat", "dog")


class Call:
    """A pickle of this calls `function` when it is trusted."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, __import__, np.load, np.fromfile, print, open],
    ids=["system", "eval", "exec", "import", "load", "fromfile", "print", "open"],
)
def test_the_diary_opens_no_door_for_other_names(tmp_path, history_buffer, function):
    victim = tmp_path / "executed"
    argument = f"touch {victim}" if function is os.system else f"open({str(victim)!r}, 'w')"
    content = {"state_dict": STATE, "message_hub": {"log": history_buffer(), "x": Call(function, argument)}}
    with pytest.raises(ModelError, match=r"asks to run .*nothing was executed"):
        read(content, tmp_path / "x.pth")
    assert not victim.exists()


def test_skipped_names_are_not_called(tmp_path):
    content = {"state_dict": STATE, "x": Call(getattr, torch.Size, "mro"), "y": [Call(np.dtype, "f8", False, True)]}
    assert list(read(content, tmp_path / "x.pth")) == list(STATE)


def test_getattr_in_a_pickle_leads_to_no_function(tmp_path):
    """getattr("os", "system")("touch ..."), written by hand: what the first call gives back cannot be called."""
    path, victim = tmp_path / "x.pth", tmp_path / "executed"
    command = f"touch {victim}".encode()
    system = b"c__builtin__\ngetattr\nX\x02\0\0\0osX\x06\0\0\0system\x86R"
    path.write_bytes(b"\x80\x02" + system + b"X" + len(command).to_bytes(4, "little") + command + b"\x85R.")
    with pytest.raises(ModelError, match="not a readable PyTorch checkpoint"):
        read_weight_file(path)
    assert not victim.exists()


def test_a_skipped_object_in_place_of_a_tensor_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"entry 'kps\.0' is _Skipped; expected dense tensors"):
        read({"kps.0": np.zeros(3)}, tmp_path / "x.pth")
