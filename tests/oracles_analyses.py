"""Slow, obviously right references for the paper's analyses. Plain loops; nothing here imports the project."""

import numpy as np


def average_precision(scored, positives):
    """COCO: at each of 101 recalls the best precision of any cut-off that reaches it. scored: (score, is right)."""
    ordered = sorted(scored, key=lambda pair: -pair[0])
    cuts = []
    for length in range(1, len(ordered) + 1):
        right = sum(hit for _, hit in ordered[:length])
        cuts.append((right / positives, right / length))
    total = 0.0
    for recall in np.linspace(0, 1, 101):
        total += max([precision for reached, precision in cuts if reached >= recall], default=0.0)
    return total / 101


def match_peaks(points, labels, corners, corner_labels, radius):
    """Peaks best first -> index of the corner each claims; -1: none of its class is near; -2: all near are taken."""
    taken, matches = set(), []
    for (x, y), label in zip(points, labels):
        near = []
        for number, ((cx, cy), corner_label) in enumerate(zip(corners, corner_labels)):
            distance = float(np.hypot(cx - x, cy - y))
            if corner_label == label and distance <= radius:
                near.append((distance, number))
        free = [pair for pair in near if pair[1] not in taken]
        if free:
            taken.add(min(free)[1])
            matches.append(min(free)[1])
        else:
            matches.append(-2 if near else -1)
    return matches


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def claims(boxes, labels, objects, object_labels):
    """Boxes best first -> index of the object each claims (its class, IoU >= 0.5, unclaimed, largest IoU), or -1."""
    claimed, result = set(), []
    for box, label in zip(boxes, labels):
        candidates = [
            (-iou(box, thing), number)
            for number, (thing, thing_label) in enumerate(zip(objects, object_labels))
            if thing_label == label and number not in claimed and iou(box, thing) >= 0.5
        ]
        result.append(min(candidates)[1] if candidates else -1)
        claimed.add(result[-1])
    return result


def nearest_maximum(line):
    """Index of the first largest value of a line."""
    best = 0
    for place, value in enumerate(line):
        if value > line[best]:
            best = place
    return best
