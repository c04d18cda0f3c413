"""Scaling as OpenCV does it on x86, from its loops, in numpy: slow, every rounding visible. cv2 is compared with it."""

from __future__ import annotations

import math

import numpy as np

f32 = np.float32


def _scale(size: int, resized: int) -> float:
    return 1.0 / (resized / size)


def neighbours(size: int, resized: int, *, of_areas: bool, of_columns: bool):
    """For each pixel along an axis: its two neighbours in the source, and their weights in 1 / 2048."""
    scale, at = _scale(size, resized), np.arange(resized)
    if of_areas:
        low = np.floor(at * scale).astype(int)
        fraction = ((at + 1) - (low + 1) * (resized / size)).astype(f32)
        fraction = np.where(fraction <= 0, f32(0), fraction - np.floor(fraction)).astype(f32)
    else:
        position = ((at + 0.5) * scale - 0.5).astype(f32)
        low = np.floor(position).astype(int)
        fraction = (position - low.astype(f32)).astype(f32)
    if of_columns:  # of rows only the index is clipped
        fraction[(low < 0) | (low >= size - 1)] = 0
        low = np.clip(low, 0, size - 1)
    weights = (np.rint(each * f32(2048)).astype(int) for each in (f32(1) - fraction, fraction))
    return np.clip(low, 0, size - 1), np.clip(low + 1, 0, size - 1), *weights


def bilinear(image: np.ndarray, resized: tuple[int, int], *, of_areas: bool = False) -> np.ndarray:
    above, below, weight_above, weight_below = neighbours(
        image.shape[0], resized[0], of_areas=of_areas, of_columns=False
    )
    left, right, weight_left, weight_right = neighbours(image.shape[1], resized[1], of_areas=of_areas, of_columns=True)
    pixels = image.astype(int)

    def across(rows):
        return pixels[rows][:, left] * weight_left[:, None] + pixels[rows][:, right] * weight_right[:, None]

    down = ((weight_above[:, None, None] * (across(above) >> 4)) >> 16) + (
        (weight_below[:, None, None] * (across(below) >> 4)) >> 16
    )
    return np.clip((down + 2) >> 2, 0, 255).astype(np.uint8)


def bilinear_floats(image: np.ndarray, resized: tuple[int, int]) -> np.ndarray:
    """cv2.resize of (H, W, 3) float32 as it is done by IPP: multiplications are fused with additions."""

    def mixed(first, second, share):  # in double, which holds the product whole
        return (first + (second - first).astype(float) * share).astype(f32)

    def between(size, length):
        position = np.maximum((np.arange(length) + 0.5) * (size / length) - 0.5, 0)
        low = np.minimum(position.astype(int), size - 1)
        return low, np.minimum(low + 1, size - 1), (position - low).astype(f32)

    above, below, down = between(image.shape[0], resized[0])
    left, right, along = between(image.shape[1], resized[1])
    pixels = image.astype(f32)
    rows = mixed(pixels[:, left], pixels[:, right], along[:, None])
    return mixed(rows[above], rows[below], down[:, None, None])


def covers(size: int, resized: int) -> list[list[tuple[int, np.float32]]]:
    """For each pixel along an axis: what it covers in the source, and how much of it is each."""
    scale, found = _scale(size, resized), []
    for at in range(resized):
        begin, end = at * scale, at * scale + scale
        covered = min(scale, size - begin)
        last = min(math.floor(end), size - 1)
        first = min(math.ceil(begin), last)
        parts = [(first - 1, f32((first - begin) / covered))] if first - begin > 1e-3 else []
        parts += [(each, f32(1.0 / covered)) for each in range(first, last)]
        if end - last > 1e-3:
            parts.append((last, f32(min(min(end - last, 1.0), covered) / covered)))
        found.append(parts)
    return found


def area(image: np.ndarray, resized: tuple[int, int]) -> np.ndarray:
    lines = np.zeros((image.shape[0], resized[1], 3), f32)
    for column, parts in enumerate(covers(image.shape[1], resized[1])):
        for source, weight in parts:
            lines[:, column] += image[:, source].astype(f32) * weight
    total = np.zeros((*resized, 3), f32)
    for row, parts in enumerate(covers(image.shape[0], resized[0])):
        for source, weight in parts:
            total[row] += weight * lines[source]
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


def mean(image: np.ndarray, resized: tuple[int, int]) -> np.ndarray:
    """Areas of whole pixels."""
    down, across = image.shape[0] // resized[0], image.shape[1] // resized[1]
    sums = image.astype(np.int64).reshape(resized[0], down, resized[1], across, 3).sum((1, 3))
    if (down, across) == (2, 2):
        return ((sums + 2) >> 2).astype(np.uint8)
    return np.clip(np.rint(sums.astype(f32) * (f32(1) / f32(down * across))), 0, 255).astype(np.uint8)


def resize(image: np.ndarray, resized: tuple[int, int], *, areas: bool) -> np.ndarray:
    """cv2.resize(..., INTER_AREA if areas else INTER_LINEAR) of (H, W, 3) uint8."""
    if image.shape[:2] == resized:
        return image
    scales = [_scale(*sides) for sides in zip(image.shape, resized)]
    whole = all(abs(scale - round(scale)) < np.finfo(float).eps for scale in scales)
    if not areas and not (whole and [round(scale) for scale in scales] == [2, 2]):
        return bilinear(image, resized)
    if min(scales) < 1:
        return bilinear(image, resized, of_areas=True)
    return mean(image, resized) if whole else area(image, resized)
