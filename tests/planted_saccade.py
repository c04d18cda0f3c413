"""A CornerNet-Saccade without a network: a Backend that gives planted answers, such as the golden ones, in order."""

import time

import cv2
import numpy as np

from cornernet.engine.backends import SaccadeDetections
from cornernet.engine.model_card import Decoder, ModelCard, Saccade

PEAKS = 256


def saccade_card(classes: int = 6, **changes) -> ModelCard:
    """The card of the published network."""
    settings = {
        "name": "planted",
        "class_names": tuple(f"class {number}" for number in range(classes)),
        "category_ids": tuple(range(1, classes + 1)),
        "size_multiple": 32,
        "train_size": (255, 255),
        "trained_mirror": "pixels",
        "decoder": Decoder(top_k=12, num_dets=12, max_distance=0.3, reject_border=True),
        "saccade": Saccade(),
    }
    return ModelCard(**{**settings, **changes})


def peaks_of(maps) -> tuple[np.ndarray, np.ndarray]:
    """Attention maps (N, 1, h, w) of each level, sigmoids -> attention_scores, attention_cells of the contract."""
    images = len(maps[0])
    scores, cells = np.full((images, len(maps), PEAKS), -1, np.float32), np.zeros((images, len(maps), PEAKS), np.int32)
    for level, values in enumerate(maps):
        for image in range(images):
            one = values[image, 0]
            padded = np.pad(one, 1, constant_values=-np.inf)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
            peaks = np.flatnonzero(one == windows)
            peaks = peaks[np.argsort(-one.flat[peaks], kind="stable")][:PEAKS]
            scores[image, level, : len(peaks)] = one.flat[peaks]
            cells[image, level, : len(peaks)] = peaks
    return scores, cells


def saccade_outputs(decoded, counts, attention=None, *, cell: float = 255 / 64) -> SaccadeDetections:
    """decoded (N, D, 8) x1 y1 x2 y2 [cell], score, two corner scores, class; counts (N,) rows that are defined."""
    images, rows = decoded.shape[:2]
    table = decoded.copy()
    table[np.arange(rows) >= np.asarray(counts)[:, None]] = (0, 0, 0, 0, -1, -1, -1, -1)
    table = np.take_along_axis(table, np.argsort(-table[:, :, 4], axis=1, kind="stable")[:, :, None], axis=1)
    empty = np.full((images, 3, PEAKS), -1, np.float32), np.zeros((images, 3, PEAKS), np.int32)
    return SaccadeDetections(
        table[..., :4] / np.float32(1 / cell),
        np.ascontiguousarray(table[..., 4]),
        np.ascontiguousarray(table[..., 5:7]),
        table[..., 7].astype(np.int32),
        np.asarray(counts, np.int32),
        *(empty if attention is None else attention),
    )


def rows_of(raw, start: int, stop: int):
    return type(raw)(*(values[start:stop] for values in raw))


class PlantedBackend:
    """Gives the first canvases the first answers, whatever they show; keeps the canvases."""

    name = "planted"

    def __init__(self, *answers: SaccadeDetections, card: ModelCard):
        self.card = card
        self.answers = SaccadeDetections(*(np.concatenate(values) for values in zip(*answers)))
        self.canvases: list[np.ndarray] = []

    def run(self, canvases):
        done = len(self.canvases)
        self.canvases += [canvas.copy() for canvas in canvases]
        answer = rows_of(self.answers, done, done + len(canvases))
        assert len(answer.counts) == len(canvases), "more canvases than answers"
        return answer

    def close(self):
        pass


class SceneBackend:
    """Finds bright rectangles on black where they are at least 16 px long on a canvas, and not in its border cells;
    the attention of their size's level lies on all of them. Score: brightness / 255.

    fail_on: brightness of which an object makes the batch fail. seconds: of one run.
    """

    name = "scene"

    def __init__(self, card=None, *, fail_on=(), seconds=0.0):
        self.card = card or saccade_card(2)
        self.fail_on, self.seconds = fail_on, seconds
        self.shapes: list[tuple[int, ...]] = []

    def run(self, canvases):
        self.shapes.append(canvases.shape)
        time.sleep(self.seconds)
        if np.isin(canvases.reshape(len(canvases), -1).max(axis=1), self.fail_on).any():
            raise MemoryError("planted failure")
        side = canvases.shape[1]
        decoded, counts = np.zeros((len(canvases), 12, 8), np.float32), np.zeros(len(canvases), int)
        maps = [np.zeros((len(canvases), 1, -(-side // s), -(-side // s)), np.float32) for s in (16, 8, 4)]
        for number, canvas in enumerate(canvases):
            bright = (canvas[..., 0] > 90).astype(np.uint8)
            for x, y, width, height, _ in cv2.connectedComponentsWithStats(bright)[2][1:]:
                longer = max(width, height)
                score = canvas[y : y + height, x : x + width].max() / 255
                level = 0 if longer > 96 else 1 if longer > 32 else 2
                stride = (16, 8, 4)[level]
                maps[level][number, 0, (y + height // 2) // stride, (x + width // 2) // stride] = score
                inside = min(x, y) >= 4 and max(x + width, y + height) <= side - 4
                if longer >= 16 and inside and counts[number] < decoded.shape[1]:
                    box = np.array((x, y, x + width, y + height)) * 64 / 255
                    decoded[number, counts[number]] = *box, score, score, score, 0
                    counts[number] += 1
        return saccade_outputs(decoded, counts, peaks_of(maps))

    def close(self):
        pass


TINY, LARGE, AT_THE_EDGE = (100, 100, 118, 112, 200), (300, 200, 520, 400, 230), (0, 300, 60, 340, 180)


def scene(*objects, height=480, width=640):
    """Black, with rectangles x1 y1 x2 y2 of one brightness."""
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2, bright in objects:
        image[y1:y2, x1:x2] = bright
    return image


def same(first, second):
    """Results of the same images."""
    assert [found.error for found in first] == [found.error for found in second]
    for one, other in zip(first, second, strict=True):
        for field in ("boxes", "scores", "labels", "image_size"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
