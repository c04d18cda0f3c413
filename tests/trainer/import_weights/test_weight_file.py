"""Weight files that are damaged, hostile or something else: refused in words, and nothing in them is executed."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from cornernet.engine.errors import ModelError
from cornernet.trainer.import_weights import import_checkpoint


def save(content, path):
    torch.save(content, path)
    return path


class Malicious:
    """A pickle of this creates a file when it is executed."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def evil_file(path, victim, how: str):
    bomb = Malicious(os.system, f"touch {victim}") if how != "exec" else Malicious(exec, f"open({str(victim)!r}, 'w')")
    if how == "plain pickle":
        path.write_bytes(pickle.dumps({"module.kps.0": bomb}, protocol=2))
    else:
        content = {"state_dict": {"weight": torch.zeros(2)}, "meta": bomb}
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")


@pytest.mark.parametrize(
    ("how", "name"), [("zip", "system"), ("legacy", "system"), ("plain pickle", "system"), ("exec", "exec")]
)
def test_a_pickle_that_asks_for_code_is_refused_by_name_and_not_executed(tmp_path, how, name):
    path, victim = tmp_path / "weights.pkl", tmp_path / "executed"
    evil_file(path, victim, how)
    with pytest.raises(ModelError, match=rf"asks to run (\w+\.)?{name} .*nothing was executed"):
        import_checkpoint(path)
    assert not victim.exists()
    if how == "plain pickle":  # the file does harm where it is trusted: the test is able to fail
        pickle.loads(path.read_bytes())
        assert victim.exists()


def test_a_harmless_object_is_refused_by_name_too(tmp_path):
    with pytest.raises(ModelError, match=r"asks to run pathlib\S*\.P"):
        import_checkpoint(save({"weight": torch.zeros(1), "folder": tmp_path}, tmp_path / "x.pkl"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, zipped, keep):
    path = tmp_path / "x.pkl"
    torch.save(
        {f"kps.{index}.weight": torch.rand(64, 3) for index in range(20)}, path, _use_new_zipfile_serialization=zipped
    )
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ModelError, match=r"x\.pkl: .*(a truncated one|name looks cut off, so is the file)"):
        import_checkpoint(path)


@pytest.mark.parametrize("content", [b"not a pickle", b"PK\x03\x04", b"\x80\x02", bytes(64), b"<html>sign in</html>"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable PyTorch checkpoint"):
        import_checkpoint(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a Tensor; expected a state_dict"),
        ({}, "holds a dict"),
        ([torch.zeros(1)], "holds a list"),
        ({"kps.0": 3}, "entry 'kps.0' is int"),
        ({5: torch.zeros(1)}, "entry 5 is"),
        ({"kps.0": torch.zeros(2, 2).to_sparse()}, "entry 'kps.0' is a torch.sparse_coo tensor"),
        ({"kps.0": torch.zeros(2, device="meta")}, "on meta; expected dense tensors"),
        ({"state_dict": {"kps.0": "text"}}, "entry 'kps.0' is str"),
    ],
)
def test_content_other_than_dense_tensors_by_name_is_refused(tmp_path, content, message):
    with pytest.raises(ModelError, match=message):
        import_checkpoint(save(content, tmp_path / "x.pkl"))


def test_a_truncated_safetensors_file_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"kps.0.weight": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        import_checkpoint(path)
    with pytest.raises(ModelError, match="no such file"):
        import_checkpoint(tmp_path / "missing.pkl")
    with pytest.raises(ModelError, match="no such file"):
        import_checkpoint(tmp_path)
