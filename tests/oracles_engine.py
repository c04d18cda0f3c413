"""Slow, obviously right references for the engine. numpy only, plain loops; nothing here imports the project."""

import numpy as np

f32 = np.float32


def iou(a, b, pixel=0):
    """Overlap of two boxes x1 y1 x2 y2, float32; `pixel` is added to each side."""
    pixel = f32(pixel)
    width = max(f32(0), min(a[2], b[2]) - max(a[0], b[0]) + pixel)
    height = max(f32(0), min(a[3], b[3]) - max(a[1], b[1]) + pixel)
    common = width * height
    areas = [(c[2] - c[0] + pixel) * (c[3] - c[1] + pixel) for c in (a, b)]
    union = areas[0] + areas[1] - common
    return common / union if union > 0 else f32(0)


def official_iou(a, b):
    """The same with a pixel added to each side, rounded as the official C code: sums in double, values in float."""
    width = f32(np.float64(min(a[2], b[2]) - max(a[0], b[0])) + 1)
    height = f32(np.float64(min(a[3], b[3]) - max(a[1], b[1])) + 1)
    if width <= 0 or height <= 0:
        return f32(0)
    area = f32((np.float64(b[2] - b[0]) + 1) * (np.float64(b[3] - b[1]) + 1))
    union = (
        (np.float64(a[2] - a[0]) + 1) * (np.float64(a[3] - a[1]) + 1) + np.float64(area) - np.float64(width * height)
    )
    return width * height / f32(union)


def decay(overlap, method, sigma, threshold):
    """The weight left to a box, in float32 throughout, so that near ties fall the same way as in the fast version."""
    if method == "gaussian":
        return np.exp(np.array([overlap * overlap * f32(-1 / sigma)], f32))[0]
    if overlap > f32(threshold):
        return f32(1) - overlap if method == "linear" else f32(0)
    return f32(1)


def official_decay(overlap, method, sigma, threshold):
    """The same; the official C code takes the exponential in double."""
    if method == "gaussian":
        return f32(np.exp(np.float64(-(overlap * overlap) / f32(sigma))))
    return decay(overlap, method, sigma, threshold)


def soft_nms(boxes, scores, labels, *, method="gaussian", sigma=0.5, threshold=0.5, min_score=0.001, limit=100):
    """Take the best current score of all (ties: higher original score, then lower row), weaken its class, repeat."""
    current = scores.astype(f32).copy()
    left = [row for row in range(len(scores)) if scores[row] >= min_score]
    taken, taken_scores = [], []
    while left and len(taken) < limit:
        best = max(left, key=lambda row: (current[row], scores[row], -row))
        if current[best] < min_score:
            break
        left.remove(best)
        taken.append(best)
        taken_scores.append(current[best])
        for row in left:
            if labels[row] == labels[best]:
                current[row] *= decay(iou(boxes[best], boxes[row]), method, sigma, threshold)
    return np.array(taken, np.int64), np.array(taken_scores, f32)


def soft_nms_per_class(boxes, scores, labels, **options):
    """Every class to the end on its own, then the best `limit` of all: what the definition above must be equal to."""
    limit = options.pop("limit", 100)
    rows, decayed = [], []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        taken, taken_scores = soft_nms(boxes[members], scores[members], labels[members], limit=len(members), **options)
        rows += members[taken].tolist()
        decayed += taken_scores.tolist()
    best = sorted(range(len(rows)), key=lambda place: (-decayed[place], -scores[rows[place]], rows[place]))[:limit]
    return np.array([rows[place] for place in best], np.int64), np.array([decayed[place] for place in best], f32)


def soft_nms_in_place(rows, *, method, sigma=0.5, threshold=0.5, min_score=0.001, exponent=None):
    """The official loop, element by element: (n, 7) float32 rewritten, the number of real rows returned."""
    count = len(rows)
    for place in range(len(rows)):
        best = place
        for other in range(place + 1, count):
            if rows[best, 4] < rows[other, 4]:
                best = other
        taken = rows[best, :5].copy()
        rows[best, :5] = rows[place, :5]
        rows[place, :5] = taken
        sums = corner_terms(rows[place], f32(1))
        other = place + 1
        while other < count:
            overlap = official_iou(taken, rows[other])
            if overlap > 0:
                weight = official_decay(overlap, method, sigma, threshold)
                if exponent is not None:
                    sums = sums + corner_terms(rows[other], (f32(1) - weight) ** f32(exponent))
                rows[other, 4] *= weight
                if rows[other, 4] < min_score:
                    count -= 1
                    rows[other, :5] = rows[count, :5]
                    continue
            other += 1
        if exponent is not None:
            rows[place, :2] = sums[:2] / sums[4]
            rows[place, 2:4] = sums[2:4] / sums[5]
    return count


def corner_terms(row, share):
    x1, y1, x2, y2, _, top_left, bottom_right = row
    terms = x1 * top_left, y1 * top_left, x2 * bottom_right, y2 * bottom_right, top_left, bottom_right
    return np.array(terms, f32) * share


def official_canvas(image, scale, resize):
    """The official test input before normalisation, as uint8, its border and its size: (h, w, 3), [top, left], (h,
    w).
    """
    height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
    resized = resize(image, (width, height))
    canvas = np.zeros((height | 127, width | 127, 3), np.uint8)
    middle_y, middle_x = canvas.shape[0] // 2, canvas.shape[1] // 2
    for row in range(height):
        for column in range(width):
            y, x = middle_y - height // 2 + row, middle_x - width // 2 + column
            # The crop ends half a canvas, rounded down, behind the centre: the last row of a full canvas is lost.
            if y < 2 * middle_y and x < 2 * middle_x:
                canvas[y, x] = resized[row, column]
    return canvas, (middle_y - height // 2, middle_x - width // 2), (height, width)


def official_results(per_scale, *, classes, merge_exponent=None, limit=100):
    """The official post-processing. per_scale: (scale, canvas shape, border, size, dets (2, n, 8) in heatmap cells).

    -> (m, 6) float32: x1 y1 x2 y2 score, class from 0, class by class.
    """
    joined = []
    for scale, canvas, (top, left), (height, width), dets in per_scale:
        dets = dets.astype(f32).copy()
        cells = (canvas[0] + 1) // 4, (canvas[1] + 1) // 4
        dets[1, :, [0, 2]] = cells[1] - dets[1, :, [2, 0]]
        rows = dets.reshape(-1, 8)
        rows[:, [0, 2]] = np.clip(rows[:, [0, 2]] / f32(cells[1] / canvas[1]) - f32(left), 0, width)
        rows[:, [1, 3]] = np.clip(rows[:, [1, 3]] / f32(cells[0] / canvas[0]) - f32(top), 0, height)
        rows[:, :4] /= f32(scale)
        joined.append(rows)
    rows = np.concatenate(joined)
    rows = rows[rows[:, 4] > -1]
    results = []
    for label in range(classes):
        members = rows[rows[:, 7] == label][:, :7].copy()
        soft_nms_in_place(members, method="gaussian", exponent=merge_exponent)  # what it returns is ignored
        results += [[*row[:5], label] for row in members]
    results = np.array(results, f32).reshape(-1, 6)
    if len(results) > limit:
        threshold = np.sort(results[:, 4])[len(results) - limit]
        results = results[results[:, 4] >= threshold]
    return results
