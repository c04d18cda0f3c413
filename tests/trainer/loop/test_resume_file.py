import pickle
import subprocess
import sys

import pytest
import torch

from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop.resume_file import load_resume


class _Malicious:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_resume_file_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": _Malicious()}, "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Malicious()))
    for name in ("last.pt", "plain.pt"):
        with pytest.raises(TrainingError, match="not a readable resume file"):
            load_resume(tmp_path / name)
    assert not (tmp_path / "executed").exists()


WRITE_ON_A_FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from cornernet.engine.errors import TrainingError
from cornernet.trainer.loop.resume_file import load_resume, save_resume
path = Path(sys.argv[1])
save_resume(path, {"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # what a full disk does to write()
try:
    save_resume(path, {"step": 2, "weights": torch.ones(1_000_000)})
except TrainingError as error:
    print(error)
assert load_resume(path) == {"step": 1}
assert [file.name for file in path.parent.iterdir()] == [path.name]
"""


def test_a_full_disk_is_a_clear_error_and_the_last_good_file_stays(tmp_path):
    command = [sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(tmp_path / "last.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "last good file" in done.stdout and "is kept" in done.stdout
