"""Which context runs a shape: few are made whatever the stream, and what comes again reaches a graph. On fakes."""

from __future__ import annotations

import numpy as np
import pytest
from tensorrt_rig import SMALL, Rig, assert_results, images

from cornernet.engine.errors import BackendError

WIDE = [[1, 16, 16], [2, 32, 48], [8, 128, 128]]
CANVASES = [(16 + 4 * (n % 10), 16 + 4 * (n // 10)) for n in range(60)]


def launches(rig: Rig) -> int:
    return rig.cuda.calls["cudaGraphLaunch"]


def test_a_stream_of_sixty_canvases_with_tails_makes_a_dozen_contexts(tmp_path):
    random = np.random.default_rng(0)
    with Rig(tmp_path, [WIDE], options={"workers": 1}) as rig:
        for turn in range(4):
            for height, width in CANVASES:
                for count in (8, int(random.integers(1, 8))):
                    canvases = images(count, height, width, seed=turn)
                    assert_results(rig.backend.run(canvases), canvases)
        assert rig.engine.contexts <= 12
        before = launches(rig)
        for height, width in CANVASES[:4] * 2:
            for _ in range(20):
                rig.backend.run(images(8, height, width))
        assert launches(rig) > before + 100
        assert rig.engine.contexts <= 20
    assert rig.cuda.alive() == {}


def test_a_shape_that_comes_much_more_often_takes_the_place_of_a_rare_one(tmp_path):
    with Rig(tmp_path, options={"workers": 1}) as rig:
        for size in range(16, 56, 4):
            for _ in range(2):
                rig.backend.run(images(1, size, size))
        before = launches(rig)
        for seed in range(12):
            canvases = images(1, 64, 64, seed)
            assert_results(rig.backend.run(canvases), canvases)
        assert launches(rig) > before
    assert rig.cuda.alive() == {}


@pytest.mark.parametrize(("count", "graph"), [(3, 1), (2, 1), (1, 0)])
def test_a_tail_is_filled_up_to_a_shape_with_a_graph_unless_that_is_more_than_twice_the_work(tmp_path, count, graph):
    with Rig(tmp_path, options={"workers": 1}) as rig:
        for _ in range(2):
            rig.backend.run(images(4, 64, 64))
        before, contexts = launches(rig), rig.engine.contexts
        tail = images(count, 64, 64, seed=9)
        assert_results(rig.backend.run(tail), tail)
        assert (launches(rig) - before, rig.engine.contexts) == (graph, contexts)


def test_when_no_further_context_can_be_made_the_shared_one_goes_on(tmp_path, caplog):
    with Rig(tmp_path, contexts=2, options={"workers": 1}) as rig:
        for turn in range(3):
            for size in (16, 32, 64):
                canvases = images(1, size, size, seed=turn)
                assert_results(rig.backend.run(canvases), canvases)
        assert rig.engine.contexts == 2
        assert caplog.text.count("no further context") == 1


def test_scratch_memory_is_that_of_the_shapes_that_came_not_of_the_largest_profile(tmp_path):
    scratch = 1 << 20
    with Rig(tmp_path, [SMALL], scratch=scratch, options={"workers": 1}) as rig:
        taken = sum(map(len, rig.cuda.device_memory.values()))
        assert taken < scratch // 2
        for turn in range(3):
            for size in (64, 16):
                canvases = images(4, size, size, seed=turn)
                assert_results(rig.backend.run(canvases), canvases)
        assert sum(map(len, rig.cuda.device_memory.values())) > scratch
    assert rig.cuda.alive() == {}


def test_device_addresses_that_take_turns_are_recorded_after_a_run_with_that_address(tmp_path):
    """A new address makes plugins look at their shapes in the next batch, which no graph may hold."""
    with Rig(tmp_path, options={"workers": 1}) as rig:
        frames = [images(2, seed=seed) for seed in range(3)]
        arrays = [rig.cuda.device_array(frame) for frame in frames]
        for _ in range(2):
            for frame, array in zip(frames, arrays):
                assert_results(rig.backend.run_device(array), frame)
        before = launches(rig)
        for frame, array in zip(frames, arrays):
            assert_results(rig.backend.run_device(array), frame)
        assert launches(rig) == before + 3


def test_one_address_that_cannot_be_recorded_leaves_the_others_their_graphs(tmp_path):
    with Rig(tmp_path, options={"workers": 1}) as rig:
        array = rig.cuda.device_array(images(2))
        rig.backend.run_device(array)
        rig.cuda.fail("cudaGraphInstantiate", "cudaErrorMemoryAllocation")
        rig.backend.run_device(array)
        before = launches(rig)
        rig.backend.run_device(array)
        assert launches(rig) == before
        canvases = images(2, seed=4)
        assert_results(rig.backend.run(canvases), canvases)
        assert launches(rig) == before + 1


def test_a_binding_that_raises_where_others_return_false_is_understood(tmp_path):
    with pytest.raises(BackendError, match="gave no context for profile 0"), Rig(tmp_path, refuses_profiles=True):
        pass


def test_kernels_that_tensorrt_rtx_compiled_are_kept_for_the_next_process(tmp_path):
    compiled = []
    for version in ("1", "1", "2"):
        with Rig(tmp_path, rtx=True, cache_version=version, options={"workers": 1}) as rig:
            canvases = images(2, 64, 64)
            assert_results(rig.backend.run(canvases), canvases)
            compiled.append(rig.engine.compiled)
    assert compiled == [2, 0, 2]  # the warm-up's shape and this one; nothing; another version of TensorRT-RTX
    assert (tmp_path / "toy.kernels").is_file()
