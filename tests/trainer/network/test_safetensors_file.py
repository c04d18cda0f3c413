"""Our writer of safetensors files: what the library reads and writes, the same to the byte each time."""

import os
import stat
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from cornernet.engine.errors import ModelError
from cornernet.trainer.network.safetensors_file import read_header, read_safetensors, write_safetensors

TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "half": torch.ones(3, dtype=torch.float16),
    "brain": torch.ones(1, 2, dtype=torch.bfloat16),
    "counter": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "none": torch.zeros(0, 4),
    "größe": torch.ones(1, dtype=torch.uint8),
}


def test_the_library_reads_what_was_written(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, {"b": "1", "a": "ü"})
    metadata, tensors = read_safetensors(path)
    assert metadata == {"a": "ü", "b": "1"} and read_header(path)[0] == metadata
    assert read_header(path)[1] == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)


def test_the_file_is_the_librarys_own_where_that_is_always_the_same(tmp_path):
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    write_safetensors(tmp_path / "ours", contiguous, {"one": "key"})
    safetensors.torch.save_file(contiguous, tmp_path / "theirs", {"one": "key"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_order_in_which_entries_are_given_does_not_matter(tmp_path):
    metadata = {f"key {number}": "x" for number in range(9)}
    write_safetensors(tmp_path / "one", TENSORS, metadata)
    write_safetensors(tmp_path / "two", dict(reversed(TENSORS.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_type_that_no_network_has_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x is torch\.complex64"):
        write_safetensors(tmp_path / "x", {"x": torch.zeros(1, dtype=torch.complex64)}, {})
    assert not (tmp_path / "x").exists()


SAVE = """
import sys, torch
from pathlib import Path
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.network.checkpoint import save_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset
torch.manual_seed(0)
card = ModelCard(name="tiny", class_names=("a", "b"), category_ids=(1, 2), size_multiple=32)
save_checkpoint(Path(sys.argv[1]), CornerNet(preset("tiny", 2)), card)
"""


def test_equal_weights_give_equal_bytes_in_every_process_and_the_umask_decides_who_may_read(tmp_path):
    contents, modes = set(), []
    for seed, umask in (("1", 0o022), ("2", 0o027)):
        path = tmp_path / f"{seed}.safetensors"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", SAVE, path], check=True, timeout=100, umask=umask, env=environment)
        contents.add(path.read_bytes())
        modes.append(stat.S_IMODE(path.stat().st_mode))
    assert len(contents) == 1
    assert modes == [0o644, 0o640]


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__": {"a": 1}}',
        b'{"__metadata__": []}',
        b'{"x": {"dtype": "F32", "shape": [100000, 100000], "data_offsets": [0, 40000000000]}}',
        b'{"x": {"dtype": "F99", "shape": [], "data_offsets": [0, 0]}}',
        b'{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"x": 3}',
        b"[]",
        b"[" * 10_000,
        b"\xff\xfe",
    ],
)
def test_a_header_that_means_nothing_is_refused(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for read in (read_header, read_safetensors):
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            read(path)


@pytest.mark.parametrize("name", ["model.onnx", "model.engine"])
def test_an_exported_model_is_no_weights_of_another_project(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x08\x0a" * 40)
    for read in (read_header, read_safetensors):
        with pytest.raises(ModelError, match=f"{name}: an exported model; what is needed here are the weights"):
            read(tmp_path / name)
