"""CornerNet-Saccade's steps as its description writes them: loops over pixels, cells and pairs, no arrays at once."""

import math

import numpy as np


def official_window(image, y, x, scale, side=255):
    """Source and target rectangles (y0, y1, x0, x1) and offset of a location, or None where there is nothing to see."""
    c = math.trunc(side / scale)
    if c < 1:
        return None
    h, k = c // 2, side / c
    source, target, offset = [], [], []
    for centre, length in ((math.trunc(y), image[0]), (math.trunc(x), image[1])):
        first, end = max(0, centre - h), min(centre + h, length)
        source += [first, end]
        target += [side // 2 - math.trunc((centre - first) * k), side // 2 + math.trunc((end - centre) * k)]
        offset.append(centre - h)
    seen = all(a < b for a, b in (source[:2], source[2:], target[:2], target[2:]))
    return (tuple(source), tuple(target), tuple(offset)) if seen else None


def paste(image, source, target, side=255):
    """The canvas (side, side, 3) float64: the source rectangle resized bilinearly, half-pixel centres, onto black."""
    canvas = np.zeros((side, side, 3))
    (y0, y1, x0, x1), (t0, t1, l0, l1) = source, target
    part = image[y0:y1, x0:x1].astype(np.float64)
    for row in range(t0, t1):
        for column in range(l0, l1):
            y = max((row - t0 + 0.5) * (y1 - y0) / (t1 - t0) - 0.5, 0)
            x = max((column - l0 + 0.5) * (x1 - x0) / (l1 - l0) - 0.5, 0)
            i, j = min(int(y), y1 - y0 - 1), min(int(x), x1 - x0 - 1)
            below, right = min(i + 1, y1 - y0 - 1), min(j + 1, x1 - x0 - 1)
            down, along = y - i, x - j
            canvas[row, column] = (1 - down) * ((1 - along) * part[i, j] + along * part[i, right]) + down * (
                (1 - along) * part[below, j] + along * part[below, right]
            )
    return canvas


def official_attention(maps, scale, offset, image, *, threshold=0.3, strides=(16, 8, 4), zooms=(1, 2, 4)):
    """Locations (y, x, scale, score) of one view's maps, level by level, row by row."""
    locations = []
    for values, stride, zoom in zip(maps, strides, zooms):
        if scale > 2 or zoom * scale > 4:
            continue
        rows, columns = values.shape
        for row in range(rows):
            for column in range(columns):
                around = values[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
                value = values[row, column]
                if value < around.max() or not value > np.float32(threshold):
                    continue
                y, x = row * stride / scale + offset[0], column * stride / scale + offset[1]
                if 0 <= y < image[0] and 0 <= x < image[1]:
                    locations.append((y, x, zoom * scale, float(value)))
    return locations


def thin_out(locations, *, near, tolerance):
    """The locations that stay, best first; ties: the later first."""
    left = sorted(enumerate(locations), key=lambda item: (item[1][3], item[0]), reverse=True)
    left = [location for _, location in left]
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        stay = []
        for other in left:
            aside = abs(other[0] - best[0]), abs(other[1] - best[1])
            distance = max(aside) if near == "square" else min(aside)
            if tolerance is None:
                close = distance <= 16 / best[2] and 0.8 <= best[2] / other[2] <= 1.2
            else:
                larger, smaller = max(best[2], other[2]), min(best[2], other[2])
                close = distance < 16 / larger - tolerance and smaller / larger >= 0.8
            if not close:
                stay.append(other)
        left = stay
    return kept
