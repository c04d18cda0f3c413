"""Sheets of pictures of a data set: as annotated, and as training sees them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from cornernet.engine.errors import ImageError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import read_image
from cornernet.engine.results.draw import draw_detections
from cornernet.engine.scoring.coco import Sample
from cornernet.trainer.data.augment import AugmentConfig, View, augment

TILE_PX = 288
COLUMNS = 4
_TITLE_PX, _GAP_PX = 20, 6


def annotated_sheet(samples: Sequence[Sample], class_names: Sequence[str], *, most: int = 12) -> np.ndarray | None:
    """At most `most` pictures, evenly spread, with their objects -> (H, W, 3) uint8 BGR; None: none can be read."""
    tiles = []
    for sample, image in _readable(samples, most):
        names = [class_names[label] + " (crowd)" * int(crowd) for label, crowd in zip(sample.labels, sample.crowd)]
        tiles.append(_tile(image, sample.boxes, sample.labels, names, printable(sample.path.name)))
    return _sheet(tiles)


def augmented_sheet(
    samples: Sequence[Sample],
    class_names: Sequence[str],
    card: ModelCard,
    *,
    size: tuple[int, int],
    config: AugmentConfig,
    seed: int = 0,
    most: int = 3,
) -> np.ndarray | None:
    """A row a picture: views of it as `augment` makes them for a canvas of `size` (H, W), the normalisation undone.

    Colours that were moved beyond 0 to 255 are shown at the end of the range; the network gets them as they are.
    """
    rng = np.random.default_rng(seed)
    tiles = []
    for sample, image in _readable(samples, most):
        objects = ~sample.crowd
        for number in range(1, COLUMNS + 1):
            view = augment(
                image, sample.boxes[objects], sample.labels[objects], rng, size=size, config=config, card=card
            )
            names = [class_names[label] for label in view.labels]
            title = f"{printable(sample.path.name)}, view {number}"
            tiles.append(_tile(_as_picture(view, card), view.boxes, view.labels, names, title))
    return _sheet(tiles)


def _readable(samples: Sequence[Sample], most: int) -> list[tuple[Sample, np.ndarray]]:
    """Pictures with objects, evenly spread; without, if there are none with."""
    shown = [sample for sample in samples if len(sample.boxes)] or list(samples)
    chosen = [shown[place * len(shown) // most] for place in range(most)] if len(shown) > most else shown
    found = []
    for sample in chosen:
        try:
            image = read_image(sample.path)
        except ImageError:
            continue  # named elsewhere
        if image.shape[:2] == (sample.height, sample.width):
            found.append((sample, image))
    return found


def _as_picture(view: View, card: ModelCard) -> np.ndarray:
    """(H, W, 3) uint8 BGR"""
    image = 255 * (view.image * np.array(card.std, np.float32) + np.array(card.mean, np.float32))
    image = np.rint(image.clip(0, 255)).astype(np.uint8)
    return np.ascontiguousarray(image[..., ::-1]) if card.channel_order == "rgb" else image


def _tile(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str) -> np.ndarray:
    """A picture fitted into a square, below its name, its objects drawn at the tile's size."""
    scale = TILE_PX / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    tile = np.full((height + _TITLE_PX, TILE_PX, 3), 255, np.uint8)
    tile[_TITLE_PX:, :width] = draw_detections(small, boxes * np.float32(scale), labels, names, None)
    longest = TILE_PX // 8  # letters of about 8 px
    shown = title if len(title) <= longest else f"{title[: longest - 3]}..."
    cv2.putText(tile, shown, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return tile


def _sheet(tiles: Sequence[np.ndarray]) -> np.ndarray | None:
    if not tiles:
        return None
    columns = min(COLUMNS, len(tiles))
    rows = [_row(tiles[start : start + columns], columns) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _row(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Tiles side by side, as high as the highest of them."""
    row = np.full((max(len(tile) for tile in tiles) + 2 * _GAP_PX, columns * (TILE_PX + 2 * _GAP_PX), 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        left = place * (TILE_PX + 2 * _GAP_PX) + _GAP_PX
        row[_GAP_PX : _GAP_PX + len(tile), left : left + TILE_PX] = tile
    return row
