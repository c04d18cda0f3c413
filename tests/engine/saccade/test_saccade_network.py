"""The published network itself, with the golden weights, through the Detector's stages on a photograph."""

import numpy as np
import pytest
from planted_saccade import saccade_card

from cornernet.engine.detector import Detector

torch = pytest.importorskip("torch", reason="the network itself: pip install '.[train]'")

PHOTOGRAPH = "000000377575"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def backend(golden):
    from golden_saccade import calibrated_network

    from cornernet.trainer.deploy.torch_backend import TorchBackend

    network = calibrated_network(golden)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield TorchBackend(network, saccade_card(80))
    torch.set_num_threads(threads)


def test_on_canvases_that_are_not_rounded_the_boxes_are_the_official_ones(backend, golden, shared_data):
    numbers = np.load(golden / "h_saccade" / f"pipeline_{PHOTOGRAPH}.npz")
    detector = Detector(backend, protocol="official")
    path = next(shared_data.rglob(f"*{PHOTOGRAPH}.jpg"))
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
    # Half a grey level changes no decision of the first look here.
    stages = detector.stages
    loaded = stages.load((0, path))
    (batch,) = stages.views([loaded], 2)
    canvases = np.empty((2, 255, 255, 3), np.uint8)
    for canvas, view in zip(canvases, batch, strict=True):
        stages.plan.place(loaded.pixels, view.placement, canvas)
    stages.run(batch, [loaded], canvases)
    crops = stages.plan.placements(loaded.size, loaded.seen)
    assert np.array_equal([crop.origin for crop in crops], numbers["crop.offsets"])
