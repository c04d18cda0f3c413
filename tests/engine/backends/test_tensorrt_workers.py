"""Workers of the TensorRT backend: threads, memory that runs out, failures, closing; on a fake driver and TensorRT."""

from __future__ import annotations

import threading
import weakref

import pytest
from fake_cuda import FakeCuda
from tensorrt_rig import Rig, assert_results, images

from cornernet.engine.errors import BackendError, ModelError


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_get_their_own_rows_and_no_more_workers_than_allowed(tmp_path, workers):
    with Rig(tmp_path, options={"workers": workers}) as rig:
        wrong: list[BaseException] = []

        def serve(seed: int) -> None:
            try:
                for turn in range(5):
                    canvases = images(1 + (seed + turn) % 4, 16 * (1 + turn % 2), 32, seed=seed * 10 + turn)
                    assert_results(rig.backend.run(canvases), canvases)
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=serve, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert rig.cuda.alive()["streams"] <= workers
    assert rig.cuda.alive() == {}


def test_the_backend_stays_on_its_device_in_every_thread(tmp_path):
    with Rig(tmp_path, cuda=FakeCuda(devices=2), options={"device": 1}) as rig:
        canvases, got = images(2), []
        thread = threading.Thread(target=lambda: got.append(rig.backend.run(canvases)))
        thread.start()
        thread.join()
        assert_results(got[0], canvases)
        assert set(rig.cuda.stream_device.values()) == {1}
        assert rig.cuda.cudaGetDevice() == (0, 0)  # the caller's own device is current again


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaHostAlloc"])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_memory_that_runs_out_while_opening_is_an_error_and_nothing_leaks(tmp_path, call, after):
    cuda = FakeCuda()
    cuda.fail(call, "cudaErrorMemoryAllocation", after=after)
    with pytest.raises(BackendError, match=r"cudaErrorMemoryAllocation.*smaller profile"), Rig(tmp_path, cuda=cuda):
        pass
    assert cuda.alive() == {}
    assert cuda.last_error == 0


def test_if_there_is_no_memory_for_a_second_worker_calls_share_the_first(tmp_path, caplog):
    with Rig(tmp_path, cuda=FakeCuda(memory=70_000), options={"workers": 4}) as rig:
        first = rig.backend._acquire()
        results: list = []
        canvases = images(2)
        thread = threading.Thread(target=lambda: results.append(rig.backend.run(canvases)))
        thread.start()
        thread.join(0.2)
        assert not results
        rig.backend._release(first)
        thread.join()
        assert_results(results[0], canvases)
        assert "going on with 1" in caplog.text
    assert rig.cuda.alive() == {}


def test_a_worker_that_failed_is_replaced(tmp_path):
    with Rig(tmp_path) as rig:
        # Not one like cudaErrorIllegalAddress, after which no call of the whole process succeeds.
        rig.cuda.fail("cudaGraphLaunch", "cudaErrorMemoryAllocation")
        with pytest.raises(BackendError, match="cudaErrorMemoryAllocation"):
            rig.backend.run(images(2))
        assert rig.cuda.alive() == {}
        canvases = images(2, seed=5)
        assert_results(rig.backend.run(canvases), canvases)


def test_a_network_that_fails_reports_tensorrts_own_words(tmp_path):
    with pytest.raises(BackendError, match="the fake network is broken"), Rig(tmp_path, broken=True):
        pass


def test_a_closed_backend_refuses_to_run_and_may_be_closed_again(tmp_path):
    with Rig(tmp_path) as rig:
        rig.backend.close()
        with pytest.raises(BackendError, match="closed"):
            rig.backend.run(images(1))
    assert rig.cuda.alive() == {}


def test_the_engine_is_let_go_when_the_backend_is_closed(tmp_path):
    with Rig(tmp_path) as rig:
        rig.backend.run(images(2))
        engine = weakref.ref(rig.api.module.engines.pop())
        rig.backend.close()
        assert engine() is None


def test_closing_waits_for_a_batch_that_is_running(tmp_path):
    with Rig(tmp_path) as rig:
        worker = rig.backend._acquire()
        closer = threading.Thread(target=rig.backend.close)
        closer.start()
        closer.join(0.1)
        assert closer.is_alive() and rig.cuda.alive()
        rig.backend._release(worker)
        closer.join(5)
        assert rig.cuda.alive() == {}


def test_outputs_whose_size_depends_on_the_pixels_are_refused(tmp_path):
    with pytest.raises(ModelError, match="depend on the pixels"), Rig(tmp_path, data_dependent=True):
        pass


def test_an_engine_of_another_network_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has the tensors images, boxes"), Rig(tmp_path, outputs=("boxes",)):
        pass
