"""Page-locked memory lent to callers, contexts of others, forks, the end of the process, drivers. On fakes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_driver import PRIMARY
from tensorrt_rig import Rig, assert_results, images

from cornernet.engine.backends import nvtx_ranges, tensorrt
from cornernet.engine.backends.cuda_memory import PinnedBuffer
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.engine_card import FileFacts
from cornernet.engine.errors import BackendError, ImageError


def lent(rig: Rig, canvases: np.ndarray) -> np.ndarray:
    """The canvases in memory that the backend lends."""
    memory = rig.backend.allocate(canvases.nbytes).reshape(canvases.shape)
    memory[...] = canvases
    return memory


def test_canvases_in_lent_memory_are_uploaded_from_there(tmp_path, monkeypatch):
    with Rig(tmp_path, options={"workers": 1}) as rig:
        ring = [lent(rig, images(4, 64, 64, seed)) for seed in range(3)]
        staged = []
        true_array = PinnedBuffer.array
        monkeypatch.setattr(PinnedBuffer, "array", lambda self, *a: staged.append(a) or true_array(self, *a))
        for turn in range(3):
            for memory in ring:
                memory[0, 0, 0] = turn
                for count in (4, 3):
                    assert_results(rig.backend.run(memory[:count]), memory[:count])
        assert len(staged) == 3 * 3 * 2 * 5  # the five outputs of each batch, and no input
        before, uploads = rig.cuda.calls["cudaGraphLaunch"], rig.cuda.calls["cudaMemcpyAsync"]
        for memory in ring:
            rig.backend.run(memory)
        assert rig.cuda.calls["cudaGraphLaunch"] == before + 3
        assert rig.cuda.calls["cudaMemcpyAsync"] == uploads
    assert rig.cuda.alive() == {}


def test_lent_memory_that_is_not_dense_and_memory_of_others_goes_through_staging(tmp_path):
    with Rig(tmp_path) as rig:
        memory = lent(rig, images(2, 64, 64))
        assert_results(rig.backend.run(memory[:, ::2]), memory[:, ::2])
        assert_results(rig.backend.run(memory.copy()), memory)


def test_a_backend_asks_for_at_least_two_batches_and_for_one_per_worker(tmp_path):
    for workers, wanted in ((1, 2), (2, 2), (5, 5)):
        with Rig(tmp_path, options={"workers": workers}) as rig:
            assert rig.backend.in_flight == wanted


def test_a_closed_backend_lends_nothing(tmp_path):
    with Rig(tmp_path) as rig:
        rig.backend.close()
        with pytest.raises(BackendError, match="closed"):
            rig.backend.allocate(16)


def test_host_memory_that_runs_out_is_not_taken_for_the_gpus(tmp_path):
    with Rig(tmp_path) as rig:
        rig.cuda.fail("cudaHostAlloc", "cudaErrorMemoryAllocation")
        with pytest.raises(BackendError, match="not the GPU's"):
            rig.backend.allocate(1 << 20)


def test_a_context_that_somebody_else_made_current_gets_none_of_our_memory(tmp_path):
    cuda = FakeCuda()
    theirs = cuda.make_context()
    with Rig(tmp_path, cuda=cuda) as rig:
        canvases = images(2)
        assert_results(rig.backend.run(canvases), canvases)
        assert {cuda.memory_context[address] for address in cuda.device_memory} == {PRIMARY}
        assert int(cuda.cuCtxGetCurrent()[1]) == theirs
        array = cuda.device_array(canvases)
        with pytest.raises(ImageError, match="autoprimaryctx"):
            rig.backend.run_device(array)


def test_a_forked_child_is_told_and_frees_nothing(tmp_path, monkeypatch):
    with Rig(tmp_path) as rig:
        alive = rig.cuda.alive()
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            with pytest.raises(BackendError, match=r"does not survive a fork.*spawn"):
                rig.backend.run(images(1))
            rig.backend.close()
            assert rig.cuda.alive() == alive
        canvases = images(1)
        assert_results(rig.backend.run(canvases), canvases)


AT_EXIT = """
import atexit, sys, tempfile
from pathlib import Path
from fake_cuda import FakeCuda
cuda = FakeCuda()
atexit.register(lambda: print("left:", cuda.alive()))  # registered first, so it runs last
from tensorrt_rig import Rig
rig = Rig(Path(sys.argv[1]), cuda=cuda).__enter__()
"""


def test_a_backend_nobody_closed_is_closed_before_the_interpreter_ends(tmp_path):
    folder = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert (done.stdout.splitlines()[-1:], done.returncode) == (["left: {}"], 0), done.stderr


def test_a_driver_older_than_cuda_pythons_runtime_is_named_with_the_version_that_fits():
    cuda = FakeCuda()
    cuda.driver_version, cuda.runtime_version = 12040, 13000
    with pytest.raises(
        BackendError, match=r"brings CUDA 13\.0, the NVIDIA driver is for CUDA 12\.4.*cuda-python>=12\.9\.1,<13"
    ):
        Cuda(cuda)
    cuda.runtime_version = 12090  # newer within a major version: works
    Cuda(cuda)


def test_an_engine_that_carries_code_is_opened_only_for_who_asks_for_it(tmp_path):
    facts = FileFacts(name="libcornernet_plugins.so", sha256="1" * 64, bytes=1)
    carried = dict(plugins=facts, operators={"CornerGroup": 1}, embeds_plugins=True, carries_code=True)
    with pytest.raises(BackendError, match=r"runs their code.*plugins=\"engine\""), Rig(tmp_path, **carried):
        pass
    with Rig(tmp_path, options={"plugins": "engine"}, **carried) as rig:
        canvases = images(2)
        assert_results(rig.backend.run(canvases), canvases)
    with pytest.raises(BackendError, match="carries no operators"), Rig(tmp_path, options={"plugins": "engine"}):
        pass


def test_times_on_the_gpu_and_of_layers_are_those_that_the_device_reports(tmp_path):
    with Rig(tmp_path) as rig:
        times = rig.backend.time_on_gpu(images(2), runs=5)
        assert times.batch == times.compute == [0.25] * 5
        assert rig.backend.time_layers(images(2), runs=3) == {"conv": 0.5, "CornerPeaks": 0.5}
        canvases = images(2, seed=7)
        assert_results(rig.backend.run(canvases), canvases)
        with pytest.raises(ImageError, match="do not fit into one batch"):
            rig.backend.time_on_gpu(images(5))
    assert rig.cuda.alive() == {}


def test_backends_that_are_open_are_known_and_closed_ones_forgotten(tmp_path):
    with Rig(tmp_path) as rig:
        assert rig.backend in tensorrt._OPEN
    assert rig.backend not in tensorrt._OPEN


def test_batches_are_ranges_of_nvtx_where_it_is_installed(tmp_path, monkeypatch):
    opened: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def annotate(name, domain):
        opened.append((domain, name))
        yield

    monkeypatch.setitem(sys.modules, "nvtx", SimpleNamespace(annotate=annotate))
    nvtx_ranges._nvtx.cache_clear()
    try:
        with Rig(tmp_path) as rig:
            opened.clear()
            rig.backend.run(images(2))
    finally:
        nvtx_ranges._nvtx.cache_clear()
    assert opened == [("cornernet", name) for name in ("place", "launch", "wait", "results")]
