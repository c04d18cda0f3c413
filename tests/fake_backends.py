"""Small stand-ins for a model: what they find is obvious from the picture."""

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.parser

from cornernet.engine.backends import RawDetections
from cornernet.engine.model_card import METADATA_KEY, ModelCard


def make_card(**changes) -> ModelCard:
    settings = {"name": "fake", "class_names": ("bright", "other"), "category_ids": (7, 9), "max_size": 1024}
    return ModelCard(**{**settings, **changes})


def raw_detections(rows_per_image, num_dets=8) -> RawDetections:
    """Lists of (x1, y1, x2, y2, score, label) per image -> the five outputs of the contract."""
    count = len(rows_per_image)
    raw = RawDetections(
        np.zeros((count, num_dets, 4), np.float32),
        np.full((count, num_dets), -1, np.float32),
        np.zeros((count, num_dets, 2), np.float32),
        np.full((count, num_dets), -1, np.int32),
        np.zeros(count, np.int32),
    )
    for image, rows in enumerate(rows_per_image):
        for place, (x1, y1, x2, y2, score, label) in enumerate(sorted(rows, key=lambda row: -row[4])):
            raw.boxes[image, place] = x1, y1, x2, y2
            raw.scores[image, place] = score
            raw.corner_scores[image, place] = score
            raw.labels[image, place] = label
        raw.counts[image] = len(rows)
    return raw


class FunctionBackend:
    """Runs `find` on each canvas (h, w, 3); `find` returns rows (x1, y1, x2, y2, score, label)."""

    name = "fake"

    def __init__(self, find, card=None):
        self.card = card or make_card()
        self.find = find
        self.shapes = []
        self.closed = False

    def run(self, canvases):
        self.shapes.append(canvases.shape)
        return raw_detections([self.find(canvas) for canvas in canvases])

    def close(self):
        self.closed = True


def bright_box(canvas):
    """The bounding box of all pixels above 128; its score is the brightest of them / 255."""
    rows, columns = np.nonzero(canvas.max(axis=2) > 128)
    if len(rows) == 0:
        return []
    return [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, canvas.max() / 255, 0)]


def like_official_weights(canvas):
    """As official weights see it, trained by mirroring x -> width - 1 - x: half a pixel to the left of the edges."""
    return [(x1 - 0.5, y1, x2 - 0.5, y2, score, label) for x1, y1, x2, y2, score, label in bright_box(canvas)]


def picture(height, width, box=None, value=255):
    """Black (height, width, 3) uint8 with a bright rectangle x1 y1 x2 y2."""
    image = np.zeros((height, width, 3), np.uint8)
    if box is not None:
        x1, y1, x2, y2 = box
        image[y1:y2, x1:x2] = value
    return image


BRIGHT_BOX_GRAPH = """
<ir_version: 8, opset_import: ["" : 17]>
bright_box (uint8[N,H,W,3] images)
    => (float[N,4,4] boxes, float[N,4] scores, float[N,4,2] corner_scores, int32[N,4] labels, int32[N] counts)
{
    pixels = Cast<to=1>(images)
    grey = ReduceMax<axes=[3], keepdims=0>(pixels)
    threshold = Constant<value=float {128.0}>()
    bright = Greater(grey, threshold)
    mask = Cast<to=1>(bright)
    columns = ReduceMax<axes=[1], keepdims=0>(mask)
    rows = ReduceMax<axes=[2], keepdims=0>(mask)
    one = Constant<value=int64 {1}>()
    x1 = ArgMax<axis=1, keepdims=1>(columns)
    y1 = ArgMax<axis=1, keepdims=1>(rows)
    last_x = ArgMax<axis=1, keepdims=1, select_last_index=1>(columns)
    last_y = ArgMax<axis=1, keepdims=1, select_last_index=1>(rows)
    x2 = Add(last_x, one)
    y2 = Add(last_y, one)
    edges = Concat<axis=1>(x1, y1, x2, y2)
    edges_float = Cast<to=1>(edges)
    axis_1 = Constant<value=int64[1] {1}>()
    box = Unsqueeze(edges_float, axis_1)
    box_pads = Constant<value=int64[6] {0, 0, 0, 0, 3, 0}>()
    boxes = Pad(box, box_pads)
    brightest = ReduceMax<axes=[1, 2], keepdims=0>(grey)
    scale = Constant<value=float {255.0}>()
    score = Div(brightest, scale)
    score_column = Unsqueeze(score, axis_1)
    minus_one = Constant<value=float {-1.0}>()
    row_pads = Constant<value=int64[4] {0, 0, 0, 3}>()
    scores = Pad(score_column, row_pads, minus_one)
    axis_2 = Constant<value=int64[1] {2}>()
    scores_column = Unsqueeze(scores, axis_2)
    corner_scores = Concat<axis=2>(scores_column, scores_column)
    used = Sign(scores)
    half = Constant<value=float {0.5}>()
    lowered = Sub(used, half)
    floored = Floor(lowered)
    labels = Cast<to=6>(floored)
    found = Greater(brightest, threshold)
    counts = Cast<to=6>(found)
}
"""


def write_onnx(path: Path, card: ModelCard | None, graph: str = BRIGHT_BOX_GRAPH) -> Path:
    """A file that finds the bright box, with `card` in its metadata unless it is None."""
    model = onnx.parser.parse_model(graph)
    if card is not None:
        onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
