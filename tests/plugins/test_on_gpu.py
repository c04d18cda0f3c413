"""What only a GPU can show: CUDA graphs, streams, and maps with more elements than 32 bits can count."""

import numpy as np
import oracles
import pytest

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu(kernels_of):
    kernels = kernels_of(None)
    yield kernels
    kernels.memory.free_all()


def test_kernels_captured_in_a_cuda_graph_replay_the_same_results(gpu, driver):
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 2, (2, 5, 64, 64)).astype(np.float16)
    first, second = rng.standard_normal((2, 2, 8, 64, 64)).astype(np.float16)
    stream, launchers = driver.new_stream(), gpu.launchers
    pooled, scores = gpu.room(first.shape, np.float16), gpu.room((2, 50), np.float32)
    labels, cells = gpu.room((2, 50), np.int32), gpu.room((2, 50), np.int32)
    workspace = gpu.workspace(launchers.corner_peaks_workspace(logits.shape, 50))
    inputs = [gpu.put(each) for each in (first, second, logits)]

    def enqueue() -> None:
        launchers.corner_pool(*inputs[:2], pooled[0], first.shape, corner="top_left", type="float16", stream=stream)
        rows = scores[0], labels[0], cells[0]
        launchers.corner_peaks(inputs[2], *rows, workspace, logits.shape, top_k=50, type="float16", stream=stream)

    enqueue()
    driver.synchronize()
    graph = driver.capture(stream, enqueue)
    for room in (pooled, scores, labels, cells):
        driver.fill(room[0], 0xA5, int(np.prod(room[1])) * room[2].itemsize)
    driver.synchronize()  # the fill is asynchronous, and the stream of the graph does not wait for it
    for _ in range(3):
        driver.launch_graph(graph, stream)
    np.testing.assert_array_equal(gpu.result(pooled), oracles.corner_pool(first, second, "top_left"))
    expected = oracles.corner_peaks(logits, 50)
    np.testing.assert_array_equal(gpu.result(labels), expected[1])
    np.testing.assert_array_equal(gpu.result(cells), expected[2])


def test_the_last_plane_beyond_two_to_the_31_elements_is_pooled(gpu, driver):
    shape = (130, 1024, 128, 128)  # 2.2e9 elements
    plane = 128 * 128 * 2
    size = int(np.prod(shape, dtype=np.int64)) * 2
    first, second, pooled = (driver.allocate(size) for _ in range(3))
    for address in (first, second):
        driver.fill(address, 0, size)
    a, b = np.random.default_rng(1).standard_normal((2, 1, 1, 128, 128)).astype(np.float16)
    driver.to_device(first + size - plane, a.ctypes.data, plane)
    driver.to_device(second + size - plane, b.ctypes.data, plane)
    gpu.launchers.corner_pool(first, second, pooled, shape, corner="bottom_right", type="float16")
    driver.synchronize()
    last = np.empty_like(a)
    driver.to_host(last.ctypes.data, pooled + size - plane, plane)
    np.testing.assert_array_equal(last, oracles.corner_pool(a, b, "bottom_right"))


def test_the_same_input_gives_the_same_bits_a_hundred_times(gpu):
    logits = np.random.default_rng(2).integers(-4, 4, (1, 20, 128, 128)).astype(np.float16)
    first = gpu.corner_peaks(logits, 500)
    for _ in range(100):
        for one, other in zip(first, gpu.corner_peaks(logits, 500)):
            np.testing.assert_array_equal(one, other)
