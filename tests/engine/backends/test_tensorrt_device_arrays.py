"""Arrays that already lie on the GPU, on a fake driver and a fake TensorRT."""

from __future__ import annotations

import pytest
from tensorrt_rig import Rig, assert_results, images

from cornernet.engine.errors import ImageError


def test_device_arrays_are_read_where_they_lie(tmp_path):
    with Rig(tmp_path) as rig:
        canvases = images(2)
        array = rig.cuda.device_array(canvases)
        copies = rig.cuda.calls["cudaMemcpyAsync"]
        assert_results(rig.backend.run_device(array), canvases)
        assert rig.cuda.calls["cudaMemcpyAsync"] == copies + 5  # the outputs, and nothing else
        rig.backend.run_device(array)
        launched = rig.cuda.calls["cudaGraphLaunch"]
        assert_results(rig.backend.run_device(array), canvases)
        assert rig.cuda.calls["cudaGraphLaunch"] == launched + 1
        rig.cuda.cudaFree(array.base)
    assert rig.cuda.alive() == {}


@pytest.mark.parametrize("offset", [0, 1, 64])
def test_device_arrays_that_are_long_or_not_aligned_give_the_same_rows(tmp_path, offset):
    with Rig(tmp_path) as rig:
        canvases = images(9, 17, 19)
        array = rig.cuda.device_array(canvases, offset=offset)
        assert_results(rig.backend.run_device(array), canvases)


@pytest.mark.parametrize(("version", "stream"), [(3, 77), (3, 1), (2, None)], ids=["named", "legacy", "unnamed"])
def test_work_of_the_producer_is_waited_for(tmp_path, version, stream):
    with Rig(tmp_path) as rig:
        before, after = images(2, seed=1), images(2, seed=2)
        rig.cuda.streams.setdefault(77, [])
        array = rig.cuda.device_array(before, stream=stream, version=version)

        def produce() -> None:
            rig.cuda.bytes_at(array.base, after.nbytes)[:] = after.tobytes()

        rig.cuda.enqueue(stream or 1, produce)
        assert_results(rig.backend.run_device(array), after)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"typestr": "<f4"}, "uint8"),
        ({"shape": (32, 48, 3)}, "expected"),
        ({"strides": (1, 2, 3, 4)}, "C-contiguous"),
        ({"stream": 0}, "stream 0"),
        ({"mask": object()}, "masked"),
    ],
)
def test_device_arrays_that_do_not_fit_are_refused(tmp_path, change, words):
    with Rig(tmp_path) as rig:
        array = rig.cuda.device_array(images(2))
        array.__cuda_array_interface__.update(change)
        with pytest.raises(ImageError, match=words):
            rig.backend.run_device(array)
        with pytest.raises(ImageError, match="no __cuda_array_interface__"):
            rig.backend.run_device(images(1))


def test_arrays_on_another_device_or_on_none_are_refused_before_anything_runs(tmp_path):
    with Rig(tmp_path) as rig:
        array = rig.cuda.device_array(images(2))
        rig.cuda.owner = 1
        with pytest.raises(ImageError, match="lies in the memory of device 1; expected device 0"):
            rig.backend.run_device(array)
        array.__cuda_array_interface__["data"] = (4096, False)
        with pytest.raises(ImageError, match="lies in host memory"):
            rig.backend.run_device(array)


def test_contiguous_strides_of_a_single_image_may_be_anything_in_unit_axes(tmp_path):
    with Rig(tmp_path) as rig:
        canvases = images(1)
        array = rig.cuda.device_array(canvases)
        array.__cuda_array_interface__["strides"] = (999, 48 * 3, 3, 1)
        assert_results(rig.backend.run_device(array), canvases)
