"""TensorRT engines on a real GPU: the same numbers as ONNX Runtime. Skipped, and proving nothing, without one."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from operators_onnx import OPERATORS, write_operators
from tensorrt_rig import images
from toy_onnx import write_toy

from cornernet.engine.backends import trt_api
from cornernet.engine.backends.cuda_memory import DeviceBuffer, PinnedBuffer, Stream
from cornernet.engine.backends.cuda_runtime import Cuda, gpu_facts
from cornernet.engine.errors import ImageError

GPU = gpu_facts()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPU is None, reason="needs an NVIDIA GPU, its driver and cuda-python"),
    pytest.mark.skipif(not trt_api.available_flavours(), reason="needs TensorRT: pip install '.[gpu]'"),
]

PROFILES = ("1x16x16,2x32x48,4x64x64", "1x64x64,1x64x64,8x64x64")


@pytest.fixture(scope="module", params=trt_api.available_flavours())
def engine(request, tmp_path_factory):
    from cornernet.export.build import build_engine

    folder = tmp_path_factory.mktemp("gpu")
    source = write_toy(folder / "toy.onnx")
    report = build_engine(
        source, folder / "toy.engine", profiles=PROFILES, plugins=None, flavour=request.param, cache=None
    )
    return SimpleNamespace(source=source, path=report.path, card=report.card)


@pytest.fixture
def backends(engine) -> Iterator[SimpleNamespace]:
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    reference = OnnxRuntimeBackend(engine.source, providers=["CPUExecutionProvider"])
    backend = TensorRTBackend(engine.path)
    yield SimpleNamespace(reference=reference, tensorrt=backend)
    backend.close()
    reference.close()


def assert_same(got, wanted) -> None:
    for name, left, right in zip(got._fields, got, wanted):
        assert left.shape == right.shape and left.dtype == right.dtype, name
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_engine_was_read_where_it_runs(engine):
    assert engine.card.inspected == "engine"
    assert engine.card.gpu == GPU
    assert sum(engine.card.layers.values()) > 0


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 32, 48), (4, 64, 64), (7, 64, 64), (9, 32, 32)])
def test_every_batch_and_size_gives_the_numbers_of_onnx_runtime(backends, shape):
    for seed in range(4):  # plain, recorded, replayed, replayed with other pixels
        canvases = images(*shape, seed=seed)
        assert_same(backends.tensorrt.run(canvases), backends.reference.run(canvases))


def test_changing_shapes_between_replays_does_no_harm(backends):
    for turn in range(4):
        for size in (16, 32, 64):
            canvases = images(2, size, size, seed=turn)
            assert_same(backends.tensorrt.run(canvases), backends.reference.run(canvases))


def test_graphs_do_not_change_a_number(engine, backends):
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    plain = TensorRTBackend(engine.path, cuda_graphs=False)
    canvases = images(2)
    for _ in range(3):
        for left, right in zip(plain.run(canvases), backends.tensorrt.run(canvases)):
            np.testing.assert_array_equal(left, right)
    plain.close()


@pytest.mark.parametrize("offset", [0, 3])
def test_device_arrays_give_the_numbers_of_host_arrays(backends, offset):
    cuda = Cuda()
    canvases = images(2)
    stream, staging = Stream(cuda), PinnedBuffer(cuda, canvases.nbytes)
    buffer = DeviceBuffer(cuda, canvases.nbytes + offset)
    staging.array(canvases.shape, canvases.dtype)[...] = canvases
    stream.upload(buffer.address + offset, staging.address, canvases.nbytes)
    interface = dict(shape=canvases.shape, typestr="|u1", data=(buffer.address + offset, False), version=3)
    array = SimpleNamespace(__cuda_array_interface__=interface | {"strides": None, "stream": stream.handle})
    for _ in range(3):
        assert_same(backends.tensorrt.run_device(array), backends.reference.run(canvases))
    host = SimpleNamespace(__cuda_array_interface__=interface | {"data": (staging.address, False), "stream": None})
    if offset == 0:
        with pytest.raises(ImageError, match="host memory"):
            backends.tensorrt.run_device(host)
    for resource in (buffer, staging, stream):
        resource.free()


def test_closing_gives_the_memory_back(engine):
    from cornernet.engine.backends.tensorrt import TensorRTBackend

    cuda = Cuda()
    TensorRTBackend(engine.path).close()
    before, _ = cuda.call("cudaMemGetInfo")
    for _ in range(5):
        backend = TensorRTBackend(engine.path)
        backend.run(images(3))
        backend.close()
    after, _ = cuda.call("cudaMemGetInfo")
    assert before - after < 1 << 20


@pytest.mark.parametrize("plugins", ["none", "library"])
def test_the_operators_give_the_boxes_of_onnx_runtime(tmp_path, plugins):
    """Pooling, peaks and grouping: as definitions, and as our plugins, against ONNX Runtime on the CPU."""
    from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
    from cornernet.engine.backends.tensorrt import TensorRTBackend
    from cornernet.export.build import build_engine

    library = trt_api.find_plugin_library() if plugins == "library" else None
    if plugins == "library" and library is None:
        pytest.skip("needs libcornernet_plugins.so (cmake -B build && cmake --build build)")
    source = write_operators(tmp_path / "operators.onnx")
    report = build_engine(source, tmp_path / "operators.engine", plugins=library, cache=None)
    assert report.card.operators == (OPERATORS if library else {})
    reference = OnnxRuntimeBackend(source, providers=["CPUExecutionProvider"])
    backend = TensorRTBackend(report.path)
    for turn, shape in enumerate([(1, 64, 96), (3, 64, 96), (2, 32, 128), (8, 128, 128)] * 3):
        canvases = images(*shape, seed=turn)
        assert_same(backend.run(canvases), reference.run(canvases))
    backend.close()


def test_a_detector_gives_the_same_boxes_from_the_engine_and_from_the_onnx_file(tmp_path):
    from cornernet.engine.detector import Detector
    from cornernet.export.build import build_engine

    source = write_operators(tmp_path / "operators.onnx")
    engine = build_engine(source, tmp_path / "operators.engine", cache=None).path  # with plugins if they are there
    pictures = list(images(5, 90, 60)) + list(images(4, 64, 120, seed=1))
    with Detector(source, providers=["CPUExecutionProvider"]) as reference, Detector(engine) as detector:
        wanted, got = reference.predict(pictures, batch_size=4), detector.predict(pictures, batch_size=4)
    assert sum(len(result.boxes) for result in wanted) > 0
    for left, right in zip(got, wanted):
        assert left.error is None and right.error is None
        np.testing.assert_array_equal(left.labels, right.labels)
        np.testing.assert_allclose(left.boxes, right.boxes, atol=1e-2)
        np.testing.assert_allclose(left.scores, right.scores, atol=1e-4)
