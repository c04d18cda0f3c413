"""The published architecture with the golden weights: three runtimes answer as the official code on a photograph."""

import numpy as np
import pytest
from golden_saccade import calibrated_network

from cornernet.engine.backends.onnxruntime import OnnxRuntimeBackend
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import OFFICIAL
from cornernet.engine.reading.images import read_image
from cornernet.engine.saccade import cuts
from cornernet.export.onnx_export import build_model, deployed_card
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES

pytestmark = pytest.mark.slow

PICTURE = "000000204805"
CARD = ModelCard(
    name="saccade",
    class_names=tuple(f"class {number}" for number in range(80)),
    category_ids=tuple(range(1, 81)),
    size_multiple=32,
    max_size=256,
    train_size=(255, 255),
    decoder=PRESET_DECODERS["saccade"],
    saccade=PRESET_SACCADES["saccade"],
)


@pytest.fixture(scope="module")
def network(golden):
    return calibrated_network(golden)


@pytest.fixture(scope="module")
def views(golden):
    """The two views of the photograph, rounded to whole grey levels as every canvas here."""
    image = read_image(golden.parent / f"data/coco_ci16/images/{PICTURE}.jpg")
    canvases = np.zeros((2, 255, 255, 3), np.uint8)
    for canvas, size in zip(canvases, CARD.saccade.view_sizes):
        window = cuts.view(image.shape[:2], size, 255, 255 / 64, OFFICIAL.saccade)
        cuts.place_cut(image, window, CARD, OFFICIAL.saccade, canvas)
    return canvases


def runs(network, card, path, runtime):
    if runtime == "torch":
        return TorchBackend(network, card)
    if runtime == "onnxruntime":
        return OnnxRuntimeBackend(path)
    pytest.importorskip("openvino")
    from cornernet.engine.backends.openvino import OpenVinoBackend

    return OpenVinoBackend(path)


def test_three_runtimes_look_where_the_official_code_looks(golden, network, views, tmp_path):
    """The official canvases are not rounded: scores are near the golden ones, and equal among the runtimes."""
    card, path, found = deployed_card(network, CARD), tmp_path / "saccade.onnx", {}
    path.write_bytes(build_model(network, card).SerializeToString())
    for runtime in ("torch", "onnxruntime", "openvino"):
        backend = runs(network, card, path, runtime)
        found[runtime] = backend.run(views)
        backend.close()
    with np.load(golden / f"h_saccade/pipeline_{PICTURE}.npz") as numbers:
        maps = [numbers[f"view.att{level}"] for level in range(3)]
        kept = [numbers[f"view.att{level}_nms"] for level in range(3)]
        boxes, valid = numbers["view.decoded"], numbers["view.n_valid"]
    for runtime, raw in found.items():
        for level, (values, peaks) in enumerate(zip(maps, kept)):
            for view in range(2):
                scores, cells = raw.attention_scores[view, level], raw.attention_cells[view, level]
                expected = values[view].reshape(-1)[cells]
                np.testing.assert_allclose(scores[scores >= 0], expected[scores >= 0], atol=0.02, err_msg=runtime)
                sure = np.flatnonzero(peaks[view] > 0.32)
                assert set(sure) <= set(cells[scores > 0.3]), (runtime, level, view)
        for view in range(2):
            count = int(valid[view])
            assert raw.counts[view] == count, runtime
            official = boxes[view, :count]
            best = raw.scores[view, :count]
            np.testing.assert_allclose(best, official[:, 4], atol=0.02, err_msg=runtime)
        one = found["torch"]
        np.testing.assert_allclose(raw.attention_scores, one.attention_scores, atol=1e-4, err_msg=runtime)
        np.testing.assert_allclose(raw.scores, one.scores, atol=1e-4, err_msg=runtime)
        np.testing.assert_array_equal(raw.counts, one.counts, err_msg=runtime)
