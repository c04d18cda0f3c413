"""The TensorRT backend's batches, graphs and profiles, on a fake driver and a fake TensorRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_tensorrt import ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_saccade import saccade_card
from tensorrt_rig import SMALL, Rig, assert_results, images

from cornernet.engine.backends import SaccadeDetections
from cornernet.engine.backends.engine_card import Profile
from cornernet.engine.backends.trt_loading import choose_profile
from cornernet.engine.errors import ImageError, ModelError


@pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "rtx"])
def test_each_image_gets_its_own_rows_whatever_the_batch_and_size(tmp_path, rtx):
    with Rig(tmp_path, rtx=rtx) as rig:
        for count, height, width in [(1, 32, 48), (4, 64, 64), (2, 16, 16), (1, 32, 48), (9, 32, 48), (3, 48, 16)]:
            canvases = images(count, height, width, seed=count)
            assert_results(rig.backend.run(canvases), canvases)
    assert rig.cuda.alive() == {}


@given(counts=st.lists(st.integers(1, 11), min_size=1, max_size=5), fixed=st.booleans(), graphs=st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_sequence_of_batch_sizes_gives_the_oracles_rows(tmp_path_factory, counts, fixed, graphs):
    profile = [[3, 16, 16]] * 3 if fixed else [[1, 16, 16], [4, 16, 16], [4, 16, 16]]
    with Rig(tmp_path_factory.mktemp("engine"), [profile], options={"cuda_graphs": graphs}) as rig:
        for seed, count in enumerate(counts):
            canvases = images(count, 16, 16, seed)
            assert_results(rig.backend.run(canvases), canvases)
    assert rig.cuda.alive() == {}


def test_a_saccades_attention_comes_with_its_boxes(tmp_path):
    card = saccade_card(max_size=256)
    with Rig(tmp_path, card=card, outputs=card.detection_outputs) as rig:
        for count in (1, 4, 9):
            raw = rig.backend.run(images(count, seed=count))
            assert isinstance(raw, SaccadeDetections) and raw.attention_scores.shape == (count, 3, ROWS)
            assert_results(raw, images(count, seed=count))
    assert rig.cuda.alive() == {}


@pytest.mark.parametrize("rtx", [False, True], ids=["tensorrt", "rtx"])
def test_an_engine_of_float_canvases_reads_levels_that_are_not_whole_and_uint8_as_well(tmp_path, rtx):
    card = saccade_card(max_size=256)
    settings = dict(card=card, outputs=card.detection_outputs, float_canvases=True, float_input=True)
    with Rig(tmp_path, rtx=rtx, **settings) as rig:
        assert rig.backend.takes_float and not rig.backend.places_views
        lent = rig.backend.allocate(5 * 32 * 48 * 3 * 4)
        for count in (1, 4, 9, 9, 9):
            whole = images(count, seed=count)
            floats = whole + np.random.default_rng(count).random(whole.shape, np.float32)
            assert_results(rig.backend.run(floats), floats)
            assert_results(rig.backend.run(whole), whole)
            assert_results(rig.backend.run_device(array := rig.cuda.device_array(floats)), floats)
            rig.cuda.cudaFree(array.base)
        whole = lent[: 2 * 32 * 48 * 3].reshape(2, 32, 48, 3)
        whole[:] = images(2)
        assert_results(rig.backend.run(whole), whole.copy())
        floats = lent[: 2 * 32 * 48 * 3 * 4].view(np.float32).reshape(2, 32, 48, 3)
        floats[:] = images(2) + np.float32(0.25)
        assert_results(rig.backend.run(floats), floats.copy())
        with pytest.raises(ImageError, match=r"expected \(N, H, W, 3\) float32"):
            rig.backend.run(floats.astype(np.float64))
        with pytest.raises(ImageError, match=r"expected \(N, H, W, 3\) float32 \('<f4'\)"):
            rig.backend.run_device(rig.cuda.device_array(images(2)))


def test_an_engine_whose_card_says_another_type_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected the float32 input images"), Rig(tmp_path, float_canvases=True):
        pass
    with pytest.raises(ModelError, match="expected the uint8 input"), Rig(tmp_path, float_input=True):
        pass


def test_results_are_copies_that_the_next_batch_does_not_change(tmp_path):
    with Rig(tmp_path) as rig:
        first = images(2, seed=1)
        kept = rig.backend.run(first)
        rig.backend.run(images(2, seed=2))
        assert_results(kept, first)


def test_warm_up_records_the_graph_of_the_best_shape_and_later_batches_only_launch_it(tmp_path):
    with Rig(tmp_path) as rig:
        assert len(rig.cuda.executables) == 1
        executed, copied = rig.engine.executions, rig.cuda.calls["cudaMemcpyAsync"]
        for seed in range(3):
            canvases = images(2, seed=seed)
            assert_results(rig.backend.run(canvases), canvases)
        assert rig.cuda.calls["cudaGraphLaunch"] == 3
        assert (rig.engine.executions, rig.cuda.calls["cudaMemcpyAsync"]) == (executed, copied)


def test_a_shape_is_run_plainly_once_then_recorded_once(tmp_path):
    with Rig(tmp_path) as rig:
        captured = rig.cuda.calls["cudaStreamBeginCapture"]
        for _ in range(4):
            rig.backend.run(images(1, 16, 16))
        assert rig.cuda.calls["cudaStreamBeginCapture"] == captured + 1


def test_changing_between_shapes_never_replays_a_graph_on_a_context_of_another_shape(tmp_path):
    with Rig(tmp_path) as rig:
        for turn in range(4):
            for size in (16, 32, 64):
                canvases = images(1, size, size, seed=turn)
                assert_results(rig.backend.run(canvases), canvases)


def test_contexts_of_shapes_not_used_lately_are_given_up(tmp_path):
    with Rig(tmp_path) as rig:
        for size in range(16, 64, 4):
            for _ in range(2):
                rig.backend.run(images(1, size, size))
        assert len(rig.cuda.executables) <= 8


def test_without_graphs_nothing_is_recorded(tmp_path):
    with Rig(tmp_path, options={"cuda_graphs": False}) as rig:
        for _ in range(3):
            rig.backend.run(images(2))
        assert rig.cuda.calls["cudaStreamBeginCapture"] == 0


def test_a_runtime_with_graphs_of_its_own_is_left_to_record_them(tmp_path):
    with Rig(tmp_path, rtx=True) as rig:
        for _ in range(3):
            rig.backend.run(images(2))
        assert rig.cuda.calls["cudaStreamBeginCapture"] == 0


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_capture_that_fails_falls_back_to_plain_runs(tmp_path, caplog, call):
    cuda = FakeCuda()
    cuda.fail(call, "cudaErrorStreamCaptureUnsupported")
    with Rig(tmp_path, cuda=cuda) as rig:
        for seed in range(3):
            canvases = images(2, seed=seed)
            assert_results(rig.backend.run(canvases), canvases)
        assert cuda.calls["cudaGraphLaunch"] == 0
        assert "no CUDA graph" in caplog.text
        assert cuda.last_error == 0
    assert cuda.alive() == {}


def test_a_network_that_cannot_be_captured_runs_plainly(tmp_path):
    with Rig(tmp_path, uncapturable=True) as rig:
        for seed in range(3):
            canvases = images(2, seed=seed)
            assert_results(rig.backend.run(canvases), canvases)
        assert rig.cuda.calls["cudaStreamBeginCapture"] == 1
        assert rig.cuda.last_error == 0
    assert rig.cuda.alive() == {}


@pytest.mark.parametrize(
    ("left", "chosen"),
    [
        ((3, 32, 32), (0, 3)),
        ((8, 32, 32), (1, 8)),
        ((20, 32, 32), (1, 8)),
        ((1, 100, 100), (2, 1)),
        ((1, 32, 32), (0, 1)),
    ],
)
def test_the_profile_that_takes_most_images_and_fits_best_is_chosen(left, chosen):
    corners = [((1, 16, 16), (1, 32, 32), (4, 64, 64)), ((8, 16, 16), (8, 32, 32), (8, 64, 64))]
    corners += [((1, 64, 64), (1, 128, 128), (1, 256, 256))]
    profiles = tuple(Profile(min=low, opt=best, max=high) for low, best, high in corners)
    assert choose_profile(profiles, left, Path("x.engine")) == chosen


def test_several_profiles_give_the_same_rows(tmp_path):
    large = [[1, 64, 64], [1, 128, 128], [2, 128, 128]]
    with Rig(tmp_path, [SMALL, large]) as rig:
        for count, size in [(5, 128), (5, 32), (1, 64)]:
            canvases = images(count, size, size)
            assert_results(rig.backend.run(canvases), canvases)
    assert rig.cuda.alive() == {}


def test_a_canvas_no_profile_holds_names_the_profiles_and_the_command(tmp_path):
    with Rig(tmp_path) as rig:
        with pytest.raises(ImageError, match=r"80 x 16 px fits no profile .*1x16x16,2x32x48.*--profile 1x80x16"):
            rig.backend.run(images(1, 80, 16))
        canvases = images(1)
        assert_results(rig.backend.run(canvases), canvases)


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8), np.zeros((0, 32, 32, 3), np.uint8)]
)
def test_arrays_that_are_no_canvases_are_refused(tmp_path, wrong):
    with Rig(tmp_path) as rig, pytest.raises(ImageError, match=r"expected \(N, H, W, 3\) uint8"):
        rig.backend.run(wrong)
