"""Pictures for a benchmark without data: coloured shapes on noise, as hard to decode as a photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def draw_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 BGR: smooth noise, fine noise, a dozen filled shapes."""
    coarse = rng.integers(0, 256, (max(2, height // 32), max(2, width // 32), 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = cv2.add(picture, rng.integers(0, 24, (height, width, 3), np.uint8))
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = int(rng.integers(4, max(5, min(height, width) // 6)))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        if rng.random() < 0.5:
            cv2.circle(picture, (x, y), radius, colour, -1)
        else:
            cv2.rectangle(picture, (x - radius, y - radius // 2), (x + radius, y + radius // 2), colour, -1)
    return picture


def write_pictures(folder: Path, *, count: int = 16, height: int = 480, width: int = 640, seed: int = 0) -> list[Path]:
    """JPEG files (quality 90), the same for the same seed. COCO's commonest size by default."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        data = cv2.imencode(".jpg", draw_picture(rng, height, width), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        paths.append(folder / f"{number:03}.jpg")
        paths[-1].write_bytes(data.tobytes())
    return paths
