"""Slow, obviously right references for training a CornerNet-Saccade: plain loops, nothing of ours."""

import math

import numpy as np
import oracles_training


def saccade_targets(boxes, labels, counts, *, num_classes, side, stride, attention_strides, bounds):
    """Cell by cell -> weights (2, C, cells, cells), and one attention map (h, w) for each level."""
    cells = math.ceil(side / stride)
    weights = np.ones((2, num_classes, cells, cells), np.float32)
    attention = [np.zeros((math.ceil(side / step),) * 2, np.float32) for step in attention_strides]
    for box, label, counted in zip(boxes.astype(float), labels, counts):
        width, height = box[2] - box[0], box[3] - box[1]
        for level, step in enumerate(attention_strides):
            least = (bounds[0], bounds[1], 0)[level]
            most = (math.inf, bounds[0], bounds[1])[level]
            if least <= max(width, height) <= most:
                attention[level][int((box[1] + box[3]) / 2 / step), int((box[0] + box[2]) / 2 / step)] = 1
        if counted:
            continue
        scale = cells / side
        radius = int(
            oracles_training.gaussian_radius(math.ceil(height * scale), math.ceil(width * scale), 0.5, steps=60) + 1e-9
        )
        for corner in range(2):
            x, y = (min(int(box[2 * corner + axis] * scale), cells - 1) for axis in range(2))
            for row in range(cells):
                for column in range(cells):
                    if abs(row - y) <= radius and abs(column - x) <= radius:
                        weights[corner, label, row, column] = 0
    return weights, attention


def focal_loss(logits, heatmap, weight, divisor):
    """Eq. (1), one term per cell, each times its weight."""
    total = 0.0
    for logit, wanted, factor in zip(*(array.reshape(-1).tolist() for array in (logits, heatmap, weight))):
        score = min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4)
        term = math.log(score) * (1 - score) ** 2
        if wanted != 1:
            term = math.log(1 - score) * score**2 * (1 - wanted) ** 4
        total -= factor * term
    return total / max(divisor, 1)


def attention_loss(stacks, levels, *, images, at_least_images, twice):
    """Mean over the stacks of the sum over the levels. stacks: three logit maps each; levels: three targets."""
    total = 0.0
    for maps in stacks:
        for logits, wanted in zip(maps, levels):
            centres = int((wanted == 1).sum())
            divisor = max(centres, images) if at_least_images else centres
            total += focal_loss(logits, wanted, np.ones_like(wanted), divisor)
    return total / len(stacks) / (len(stacks) if twice else 1)


def boxes_in_crop(boxes, image, scale, centre, side, official):
    """Box by box -> [(row, [x1, y1, x2, y2], part of the area that is left)] of the boxes that are left."""
    found = []
    for row, box in enumerate(boxes.tolist()):
        ends = []
        for axis in range(2):  # x, y
            length, middle = image[1 - axis], centre[1 - axis]
            shown = int(length * scale) if official else length * scale
            first = max(0, side // 2 - middle)  # where the image begins on the canvas, and where it ends
            last = min(2 * (side // 2) if official else side, side // 2 - middle + shown)
            gap = 1 if official else 0
            start, end = (
                min(max(value, 0), length - gap) * scale - middle + side // 2 for value in (box[axis], box[axis + 2])
            )
            ends.append((start, end, min(max(start, first), last - gap), min(max(end, first), last - gap)))
        (x1, x2, left, right), (y1, y2, top, bottom) = ends
        if x2 > x1 and y2 > y1 and right > left and bottom > top:
            area = (box[2] - box[0]) * (box[3] - box[1]) * scale**2
            found.append((row, [left, top, right, bottom], (right - left) * (bottom - top) / area))
    return found
