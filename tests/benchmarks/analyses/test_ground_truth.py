"""Table 6: with true maps the decoder finds the truth, and each map is replaced alone."""

import numpy as np
import pytest
import torch
from analysed_scene import CARD, random_network, scene, truth

from cornernet.benchmarks.analyses.ground_truth import ROWS, ap_with_true_maps, with_true_maps
from cornernet.engine.scoring.coco import load_coco
from cornernet.engine.scoring.evaluation import evaluate
from cornernet.trainer.data.shapes import generate_shapes
from cornernet.trainer.deploy.decode import corner_peaks

OBJECTS = truth([[3.5, 7.2, 30.1, 40.0], [20, 22, 64, 64], [5, 41, 18, 59.9]], [0, 2, 2])


def observed():
    return random_network().observe(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_true_heatmaps_have_their_peaks_at_the_corners_and_nowhere_else():
    seen = observed()
    heads = with_true_maps(seen, OBJECTS, ("heatmap",), separation=1)
    for heatmap, columns in ((heads.top_left_heatmap, (0, 1)), (heads.bottom_right_heatmap, (2, 3))):
        scores, labels, cells = (values[0].numpy() for values in corner_peaks(heatmap, 10))
        expected = set()
        for box, label in zip(OBJECTS.boxes, OBJECTS.labels.tolist()):
            x, y = (min(15, int(box[column] / 4)) for column in columns)
            expected.add((label, 16 * y + x))
        assert set(zip(labels[:3].tolist(), cells[:3].tolist())) == expected
        assert scores[:3].tolist() == [1, 1, 1] and labels[3:].tolist() == [-1] * 7


@pytest.mark.parametrize("maps", ROWS.values(), ids=ROWS)
def test_only_the_named_maps_change(maps):
    seen = observed()
    heads = with_true_maps(seen, OBJECTS, maps, separation=1)
    changed = {
        field for field in seen.heads._fields if not torch.equal(getattr(heads, field), getattr(seen.heads, field))
    }
    assert changed == {f"{branch}_{name}" for branch in ("top_left", "bottom_right") for name in maps}


def test_true_offsets_stand_at_the_true_cells_only():
    seen = observed()
    heads = with_true_maps(seen, OBJECTS, ("offset",), separation=1)
    # 3.5 px and 7.2 px are 0.875 and 1.8 cells.
    np.testing.assert_allclose(heads.top_left_offset[0, :, 1, 0], [0.875, 0.8], atol=1e-5)
    # A corner on the canvas's far edge belongs to the last cell, a whole cell from its start.
    np.testing.assert_allclose(heads.bottom_right_offset[0, :, 15, 15], [1, 1], atol=1e-5)
    assert (heads.top_left_offset != seen.heads.top_left_offset).sum() == 2 * len(OBJECTS.boxes)


def test_with_all_true_maps_the_decoder_returns_the_objects():
    network, seen = random_network(), observed()
    found = network.detect(seen, with_true_maps(seen, OBJECTS, ("heatmap", "offset", "embedding"), separation=1))
    order = np.lexsort(found.boxes.T)
    expected = np.lexsort(OBJECTS.boxes.T)
    np.testing.assert_allclose(found.boxes[order], OBJECTS.boxes[expected], atol=1e-4)
    np.testing.assert_array_equal(found.labels[order], OBJECTS.labels[expected])
    assert (found.scores > 0.9).all()


def test_an_image_without_objects_has_no_peaks():
    seen, nothing = observed(), truth([], [])
    heads = with_true_maps(seen, nothing, ("heatmap", "offset", "embedding"), separation=1)
    assert len(random_network().detect(seen, heads)) == 0


def test_predicted_embeddings_decide_which_true_corners_are_joined():
    corners = [(2, 2, 0, 0.5, 0.0), (8, 8, 0, 0.5, 5.0)]
    ends = [(6, 6, 0, 0.5, 5.0), (14, 14, 0, 0.5, 0.0)]
    seen, objects = scene(corners, ends), truth([[8, 8, 24, 24], [32, 32, 56, 56]], [0, 0])
    network = random_network()
    wrong = network.detect(seen, with_true_maps(seen, objects, ("heatmap", "offset"), separation=1))
    np.testing.assert_allclose(wrong.boxes, [[8, 8, 56, 56]])
    right = network.detect(seen, with_true_maps(seen, objects, ("heatmap", "offset", "embedding"), separation=1))
    assert sorted(right.boxes.tolist()) == objects.boxes.tolist()


def test_on_a_data_set_the_first_row_is_the_evaluation_and_the_last_is_nearly_perfect(tmp_path):
    data = load_coco(generate_shapes(tmp_path / "shapes", train=0, val=6, seed=1, size=(64, 64)), "val")
    network = random_network()
    advanced = []
    measured = ap_with_true_maps(network, data, progress=advanced.append)
    assert list(measured) == list(ROWS) and sum(advanced) == 6
    from cornernet.engine.detector import Detector
    from cornernet.trainer.deploy.torch_backend import TorchBackend

    with Detector(TorchBackend(network.module, CARD), resize="fit") as detector:
        expected = evaluate(detector, data).stats
    assert measured["predicted"]["AP"] == pytest.approx(expected["AP"], abs=1e-6)
    ceiling = measured["w/ gt heatmaps + offsets + embeddings"]
    assert ceiling["AP"] > 0.9 and ceiling["AP"] >= measured["w/ gt heatmaps"]["AP"]
