"""The published network itself, with the golden weights, through the Detector's stages on a photograph."""

import numpy as np
import pytest
from planted_saccade import saccade_card

from cornernet.engine.detector import Detector

torch = pytest.importorskip("torch", reason="the network itself: pip install '.[train]'")

PHOTOGRAPH = "000000377575"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(golden):
    from golden_saccade import calibrated_network

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield calibrated_network(golden)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    """As `cornernet export` writes it, without its comparison with torch."""
    import onnx

    from cornernet.export.onnx_export import build_model, deployed_card

    path = tmp_path_factory.mktemp("saccade") / "saccade.onnx"
    onnx.save(build_model(network, deployed_card(network, saccade_card(80))), path)
    return path


@pytest.fixture
def torch_detector(network):
    from cornernet.trainer.deploy.torch_backend import TorchBackend

    return Detector(TorchBackend(network, saccade_card(80)), protocol="official")


def check_boxes(detector, golden, path):
    """Every one of the official code's, and no other."""
    numbers = np.load(golden / "h_saccade" / f"pipeline_{PHOTOGRAPH}.npz")
    (found,) = detector.predict(path, batch_size=32)
    final = numbers["final"]
    rows = np.column_stack((found.boxes, found.scores, found.labels))
    left = list(range(len(final)))
    for row in rows:
        distance = np.abs(final[left] - row)
        near = (distance[:, :4].max(axis=1) <= 0.02) & (distance[:, 4] <= 1e-4) & (distance[:, 5] == 0)
        assert near.any(), row
        left.pop(int(near.argmax()))
    assert not left


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_gives_the_official_boxes(model, golden, shared_data, runtime):
    pytest.importorskip(runtime)
    with Detector(model, runtime=runtime, protocol="official") as detector:
        check_boxes(detector, golden, next(shared_data.rglob(f"*{PHOTOGRAPH}.jpg")))


def test_weights_give_the_official_boxes(torch_detector, golden, shared_data):
    check_boxes(torch_detector, golden, next(shared_data.rglob(f"*{PHOTOGRAPH}.jpg")))


def test_half_a_grey_level_changes_no_decision_of_the_first_look_here(torch_detector, golden, shared_data):
    numbers = np.load(golden / "h_saccade" / f"pipeline_{PHOTOGRAPH}.npz")
    path, stages = next(shared_data.rglob(f"*{PHOTOGRAPH}.jpg")), torch_detector.stages
    loaded = stages.load((0, path))
    (batch,) = stages.views([loaded], 2)
    canvases = np.empty((2, 255, 255, 3), np.uint8)
    for canvas, view in zip(canvases, batch, strict=True):
        stages.plan.place(loaded.pixels, view.placement, canvas)
    stages.run(batch, [loaded], canvases)
    crops = stages.plan.placements(loaded.size, loaded.seen)
    assert np.array_equal([crop.origin for crop in crops], numbers["crop.offsets"])
