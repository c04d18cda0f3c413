"""Slow, obviously right references for targets, losses and augmentation: numpy, plain loops, nothing of ours."""

import math

import numpy as np


def gaussian_radius(height, width, min_overlap, *, steps=200):
    """Fig. 5 by definition: the largest r such that moving both corners by r in any of the three ways keeps the IoU.

    Bisection on the IoU itself, no formula.
    """

    def worst_overlap(r):
        area = height * width
        inter = max(0, height - r) * max(0, width - r)
        shifted = inter / (2 * area - inter)
        shrunk = max(0, height - 2 * r) * max(0, width - 2 * r) / area
        grown = area / ((height + 2 * r) * (width + 2 * r))
        return min(shifted, shrunk, grown)

    low, high = 0.0, float(max(height, width))
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if worst_overlap(middle) >= min_overlap else (low, middle)
    return low


def corner_targets(boxes, labels, *, num_classes, input_size, map_size, radii, max_objects):
    """Cell by cell. boxes (n,4) [px], radii: whole gaussian radius per box -> the seven arrays of CornerTargets."""
    height, width = map_size
    scale = width / input_size[1], height / input_size[0]
    heatmaps = np.zeros((2, num_classes, height, width), np.float32)
    offsets = np.zeros((2, max_objects, 2), np.float32)
    cells = np.zeros((2, max_objects), np.int64)
    mask = np.zeros(max_objects, bool)
    for row, (box, label, radius) in enumerate(zip(boxes, labels, radii)):
        mask[row] = True
        for corner in range(2):
            x, y = float(box[2 * corner]) * scale[0], float(box[2 * corner + 1]) * scale[1]
            column = min(max(int(x), 0), width - 1)
            line = min(max(int(y), 0), height - 1)
            offsets[corner, row] = x - column, y - line
            cells[corner, row] = line * width + column
            sigma = (2 * radius + 1) / 6
            for j in range(height):
                for i in range(width):
                    if abs(i - column) <= radius and abs(j - line) <= radius:
                        value = math.exp(-((i - column) ** 2 + (j - line) ** 2) / (2 * sigma**2))
                        heatmaps[corner, label, j, i] = max(heatmaps[corner, label, j, i], value)
    return heatmaps[0], heatmaps[1], offsets[0], offsets[1], cells[0], cells[1], mask


def focal_loss(logits, heatmap):
    """Eq. (1), one term per cell."""
    total, peaks = 0.0, 0
    for logit, wanted in zip(logits.reshape(-1).tolist(), heatmap.reshape(-1).tolist()):
        score = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
        score = min(max(score, 1e-4), 1 - 1e-4)
        if wanted == 1:
            peaks += 1
            total -= math.log(score) * (1 - score) ** 2
        else:
            total -= math.log(1 - score) * score**2 * (1 - wanted) ** 4
    return total / max(peaks, 1)


def pull_push_loss(top_left, bottom_right, mask):
    """Eq. (4) and (5) with the official constants, object by object; (N, T) each, summed over the images."""
    pull = push = 0.0
    for image in range(len(mask)):
        objects = [row for row in range(mask.shape[1]) if mask[image, row]]
        count = len(objects)
        mean = {row: (float(top_left[image, row]) + float(bottom_right[image, row])) / 2 for row in objects}
        for row in objects:
            spread = (top_left[image, row] - mean[row]) ** 2 + (bottom_right[image, row] - mean[row]) ** 2
            pull += spread / (count + 1e-4)
        for j in objects:
            for k in objects:
                closeness = max(0.0, 1 - abs(mean[j] - mean[k])) - 1 / (count + 1e-4)
                push += closeness / (count * (count - 1) + 1e-4)
    return pull, push


def offset_loss(predicted, target, mask):
    """Eq. (3): smooth L1 with the bend at 1; (N, T, 2) each."""
    total = 0.0
    for image, row in np.argwhere(mask):
        for axis in range(2):
            distance = abs(float(predicted[image, row, axis]) - float(target[image, row, axis]))
            total += 0.5 * distance**2 if distance < 1 else distance - 0.5
    return total / (int(mask.sum()) + 1e-4)


def corner_loss(stacks, targets, *, pull_weight=0.1, push_weight=0.1, offset_weight=1.0):
    """Eq. (8): mean over the stacks. stacks: six arrays each; targets: the seven arrays with a batch axis."""
    heat1, heat2, offset1, offset2, cell1, cell2, mask = targets

    def at(maps, cells):  # (N, D, h, w), (N, T) -> (N, T, D)
        images, depth = maps.shape[:2]
        flat = maps.reshape(images, depth, -1)
        return np.stack([flat[image][:, cells[image]].T for image in range(images)])

    total = 0.0
    for logits1, logits2, embedding1, embedding2, shift1, shift2 in stacks:
        pull, push = pull_push_loss(at(embedding1, cell1)[..., 0], at(embedding2, cell2)[..., 0], mask)
        total += focal_loss(logits1, heat1) + focal_loss(logits2, heat2) + pull_weight * pull + push_weight * push
        offsets = offset_loss(at(shift1, cell1), offset1, mask) + offset_loss(at(shift2, cell2), offset2, mask)
        total += offset_weight * offsets
    return total / len(stacks)


def jitter_pixels(image, alphas, order):
    """Official colour jitter, one step after the other over the whole picture. image (h,w,3) in [0,1] BGR.

    alphas: factor of brightness, contrast, saturation; order: in which they are applied.
    """
    grey = image @ np.array([0.114, 0.587, 0.299])
    mean_grey = grey.mean()
    image = image.astype(np.float64).copy()
    for step in order:
        alpha = alphas[step]
        if step == 0:
            image = image * alpha
        elif step == 1:
            image = image * alpha + mean_grey * (1 - alpha)
        else:
            image = image * alpha + grey[..., None] * (1 - alpha)
    return image
