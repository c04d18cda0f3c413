"""Pictures: what is drawn is right; that they are good to look at was decided by looking."""

from pathlib import Path

import cv2
import numpy as np
import oracles_analyses as oracles
import pytest
from analysed_scene import CARD, random_network, scene, truth
from oracles import corner_pool

from cornernet.benchmarks.analyses import errors_picture
from cornernet.benchmarks.analyses.analysis_charts import bar_chart, error_chart, quadrant_chart
from cornernet.benchmarks.analyses.errors_picture import crop_window, draw_errors
from cornernet.benchmarks.analyses.heatmap_picture import draw_heatmaps, over_image, to_image_plane
from cornernet.benchmarks.analyses.mistakes import Errors, Mistake, Scene
from cornernet.benchmarks.analyses.pooling_picture import POOLS, draw_pooling, pooled_channel
from cornernet.benchmarks.analyses.quadrants import BRANCHES, QUADRANTS
from cornernet.engine.errors import ModelError

IMAGE = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def is_picture(file: Path) -> bool:
    """A PNG that is more than white paper."""
    pixels = cv2.imread(str(file))
    return pixels is not None and min(pixels.shape[:2]) > 100 and (pixels == 255).mean() < 0.97


@pytest.mark.parametrize("branch", POOLS)
def test_the_marked_evidence_is_where_the_maximum_comes_from(branch):
    network = random_network()
    pooled = pooled_channel(network, network.observe(IMAGE), branch)
    column, row = pooled.corner
    step = 1 if branch == "top-left" else -1
    down = oracles.nearest_maximum(pooled.vertical[row::step, column])
    across = oracles.nearest_maximum(pooled.horizontal[row, column::step])
    assert pooled.sources(branch) == ((column, row + step * down), (column + step * across, row))
    for (x, y), plain, maximum in zip(pooled.sources(branch), pooled[0:4:2], pooled[1:4:2]):
        assert plain[y, x] == maximum[row, column]


def test_without_corner_pooling_there_is_nothing_to_show():
    network = random_network(corner_pooling=False)
    with pytest.raises(ModelError, match="without corner pooling"):
        pooled_channel(network, network.observe(IMAGE), "top-left")


def test_a_heatmap_cell_covers_its_pixels_of_the_image():
    network = random_network()
    seen = network.observe(np.zeros((100, 50, 3), np.uint8))  # 32 px wide in the middle of 64: cells 4 to 11
    values = np.zeros((16, 16), np.float32)
    values[8, 4] = 1
    plane = to_image_plane(seen, values)
    assert plane.shape == (100, 50)
    rows, columns = np.nonzero(plane)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 56, 0, 6)
    tinted = over_image(seen, values, (255, 120, 0))
    assert tinted[53, 3].tolist() == [255, 120, 0] and tinted[0, 0].tolist() == [25, 25, 25]


@pytest.mark.parametrize(
    "boxes", [[[10, 10, 20, 20]], [[0, 0, 5, 5], [60, 40, 64, 48]], [[30, 30, 31, 31]], [[0, 0, 64, 48]]]
)
def test_a_crop_holds_its_boxes_and_stays_in_the_image(boxes):
    x1, y1, x2, y2 = crop_window(np.array(boxes, float), (48, 64))
    assert 0 <= x1 <= min(box[0] for box in boxes) and max(box[2] for box in boxes) <= x2 <= 64
    assert 0 <= y1 <= min(box[1] for box in boxes) and max(box[3] for box in boxes) <= y2 <= 48


def test_heatmaps_and_pooling_are_drawn(tmp_path):
    network = random_network()
    seen = network.observe(IMAGE)
    found = draw_heatmaps(network, seen, tmp_path / "new" / "heatmaps.png", threshold=0.01)
    assert len(found) > 0 and is_picture(tmp_path / "new" / "heatmaps.png")
    assert len(draw_heatmaps(network, seen, tmp_path / "none.png", threshold=1.0)) == 0
    assert is_picture(tmp_path / "none.png")
    draw_pooling(network, seen, tmp_path / "pooling.png")
    assert is_picture(tmp_path / "pooling.png")


def test_mistakes_are_drawn_with_one_row_for_each_kind_that_occurred(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), IMAGE)
    seen = scene([(2, 2, 0, 0.9, 0)], [(15, 15, 0, 0.9, 0)])
    found = random_network().detect(seen)
    objects = truth([[8, 8, 40, 40]], [0])
    mistakes = Scene(seen, objects, found, CARD.decoder, threshold=0.3).mistakes(tmp_path / "image.png")
    errors = Errors(tuple(mistakes), objects=1, boxes=1)
    draw_errors(errors, CARD.class_names, tmp_path / "examples.png")
    error_chart(errors, tmp_path / "chart.png")
    assert len(mistakes) == 2 and is_picture(tmp_path / "examples.png") and is_picture(tmp_path / "chart.png")
    draw_errors(Errors((), 1, 1), CARD.class_names, tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


def test_an_example_without_a_box_says_so(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "image.png"), IMAGE)
    nothing, box = np.zeros((0, 2), np.float32), np.array([8, 8, 40, 40], np.float32)
    about = {"image": tmp_path / "image.png", "label": 0, "top_left": nothing, "bottom_right": nothing}
    mistakes = [
        Mistake("missed", "wrong pair", truth=box, found=found, **about) for found in (None, box + np.float32(3))
    ]
    figures = []
    monkeypatch.setattr(errors_picture, "save", lambda figure, output, **options: figures.append(figure))
    draw_errors(Errors(tuple(mistakes), 2, 1), CARD.class_names, tmp_path / "examples.png")
    titles = [axis.get_title() for axis in figures[0].axes]
    assert titles[:2] == [f"{CARD.class_names[0]}: no box", CARD.class_names[0]]


def test_charts_leave_out_what_was_not_measured(tmp_path):
    values = {"AP": 0.4, "APl": -1.0}
    bar_chart({"one": values, "two": {"AP": 0.5, "APl": -1.0}}, ("AP", "APl"), "title", tmp_path / "bars.png")
    assert is_picture(tmp_path / "bars.png")
    quadrants = dict.fromkeys((*QUADRANTS, "all"), 0.5) | {"top-left": -1.0}
    quadrant_chart({"one": dict.fromkeys(BRANCHES, quadrants)}, tmp_path / "quadrants.png")
    assert is_picture(tmp_path / "quadrants.png")


@pytest.mark.parametrize("branch", POOLS)
def test_the_pooled_maps_are_corner_pooling(branch):
    network = random_network()
    seen = network.observe(IMAGE)
    pooled = pooled_channel(network, seen, branch)
    inputs = network.pool_inputs(seen.canvas)[list(POOLS).index(branch)]
    expected = corner_pool(*(values.numpy() for values in inputs), branch.replace("-", "_"))
    np.testing.assert_array_equal(pooled.vertical_pooled + pooled.horizontal_pooled, expected[0, pooled.channel])
    column, row = pooled.corner
    gain = expected - inputs[0].numpy() - inputs[1].numpy()
    assert gain[0, pooled.channel, row, column] == gain[0, :, row, column].max()
