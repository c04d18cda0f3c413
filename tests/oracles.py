"""Slow, obviously right references. Every fast path in the project is compared with one of these.

numpy only, plain loops where a loop is clearer; nothing here imports the project. The decoder's definition
(ties, NaN, padding) is written down here once: the torch module, the ONNX functions and the CUDA kernels
must all agree with it.
"""

import numpy as np


def corner_pool(first: np.ndarray, second: np.ndarray, corner: str) -> np.ndarray:
    """Eq. (6) and (7): running maxima towards two borders, added. (N,C,h,w) x2 -> (N,C,h,w), same dtype.

    top_left:     from the bottom row upwards over `first`, from the right column leftwards over `second`.
    bottom_right: from the top row downwards over `first`, from the left column rightwards over `second`.
    A NaN spreads to all cells that look towards it; what they get is not part of the contract.
    """
    vertical, horizontal = first.copy(), second.copy()
    height, width = first.shape[2:]
    if corner == "top_left":
        for row in range(height - 2, -1, -1):
            vertical[:, :, row] = np.maximum(vertical[:, :, row], vertical[:, :, row + 1])
        for column in range(width - 2, -1, -1):
            horizontal[..., column] = np.maximum(horizontal[..., column], horizontal[..., column + 1])
    elif corner == "bottom_right":
        for row in range(1, height):
            vertical[:, :, row] = np.maximum(vertical[:, :, row], vertical[:, :, row - 1])
        for column in range(1, width):
            horizontal[..., column] = np.maximum(horizontal[..., column], horizontal[..., column - 1])
    else:
        raise ValueError(corner)
    return vertical + horizontal


def corner_peaks(logits: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The K strongest 3x3 peaks of each heatmap. logits (N,C,h,w) -> scores f32, labels i32, cells i32, each (N,K).

    A peak is a logit above -inf that no neighbour of its 3x3 window (same class, cut at the border) exceeds;
    on a plateau every cell is a peak. NaN counts as -inf. Order: higher logit first, then lower flat index
    (label, row, column). cell = row * w + column. Slots without a peak: score 0, label -1, cell 0.
    """
    images, _, height, width = logits.shape
    values = np.where(np.isnan(logits), -np.inf, logits.astype(np.float32)).astype(np.float32)
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    window = np.stack([padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]).max(axis=0)
    is_peak = (values == window) & (values > -np.inf)
    scores = np.zeros((images, top_k), np.float32)
    labels = np.full((images, top_k), -1, np.int32)
    cells = np.zeros((images, top_k), np.int32)
    for image in range(images):
        found = np.flatnonzero(is_peak[image])
        logit = values[image].reshape(-1)[found]
        best = np.lexsort((found, -logit))[:top_k]
        count = len(best)
        with np.errstate(over="ignore"):
            scores[image, :count] = 1 / (1 + np.exp(-logit[best].astype(np.float64)))
        labels[image, :count] = found[best] // (height * width)
        cells[image, :count] = found[best] % (height * width)
    return scores, labels, cells


def attention_peaks(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The strongest 3x3 peaks of one attention map. logits (N,1,h,w) -> scores f32, cells i32, each (N,count).

    What a peak is, their order and cell: as `corner_peaks`. Unused rows: score -1, cell 0.
    """
    scores, labels, cells = corner_peaks(logits, count)
    return np.where(labels < 0, np.float32(-1), scores), cells


def reject_border(labels: np.ndarray, cells: np.ndarray, height: int, width: int, *, last: bool) -> np.ndarray:
    """Labels of corners, -1 where the cell lies in row 0 or column 0; with `last` in the last row or column."""
    kept = labels.copy()
    for slot in np.ndindex(*cells.shape):
        row, column = divmod(int(cells[slot]), width)
        if (row == height - 1 or column == width - 1) if last else (row == 0 or column == 0):
            kept[slot] = -1
    return kept


def read_cells(embedding: np.ndarray, offset: np.ndarray, cells: np.ndarray):
    """Embedding and sub-cell position at each selected cell.

    (N,1,h,w), (N,2,h,w), (N,K) -> embedding, x, y, each (N,K) f32, positions in cells.
    """
    images, _, _, width = embedding.shape
    out = np.zeros((3, *cells.shape), np.float32)
    for image in range(images):
        for slot, cell in enumerate(cells[image]):
            row, column = divmod(int(cell), width)
            out[0, image, slot] = embedding[image, 0, row, column]
            out[1, image, slot] = np.float32(column) + np.float32(offset[image, 0, row, column])
            out[2, image, slot] = np.float32(row) + np.float32(offset[image, 1, row, column])
    return out[0], out[1], out[2]


def corner_windows(features: np.ndarray, cells: np.ndarray, size: int):
    """What a `size` x `size` convolution sees at `cells`, zeros beyond the border.

    (N,C,h,w), (N,K) i32 -> windows (N, C * size * size, K, 1), same dtype; columns, rows (N,K) f32 [cell].
    """
    images, channels, _, width = features.shape
    reach = size // 2
    padded = np.pad(features, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    windows = np.zeros((images, channels * size * size, cells.shape[1], 1), features.dtype)
    for image in range(images):
        for slot, cell in enumerate(cells[image]):
            row, column = divmod(int(cell), width)
            window = padded[image, :, row : row + size, column : column + size]
            windows[image, :, slot, 0] = window.reshape(-1)
    return windows, (cells % width).astype(np.float32), (cells // width).astype(np.float32)


def corner_group(top_left, bottom_right, *, num_dets: int, max_distance: float = 0.5, reject_zero_size: bool = False):
    """Section 3.3: pair corners of one class with close embeddings; best `num_dets` pairs by mean corner score.

    Each corner argument is (scores, labels, embeddings, x, y), all (N,K). Kept: both labels equal and >= 0,
    |embedding difference| <= max_distance, x2 >= x1 and y2 >= y1 (strictly greater with `reject_zero_size`);
    any NaN rejects. Order: higher score first, then lower top-left slot, then lower bottom-right slot.
    -> boxes (N,D,4) f32 [cell], scores (N,D) f32, corner_scores (N,D,2) f32, labels (N,D) i32, counts (N,) i32.
    Unused rows: box 0, score -1, corner scores 0, label -1.
    """
    images, slots = top_left[0].shape
    boxes = np.zeros((images, num_dets, 4), np.float32)
    scores = np.full((images, num_dets), -1, np.float32)
    corner_scores = np.zeros((images, num_dets, 2), np.float32)
    labels = np.full((images, num_dets), -1, np.int32)
    counts = np.zeros(images, np.int32)
    for image in range(images):
        s1, l1, e1, x1, y1 = (a[image] for a in top_left)
        s2, l2, e2, x2, y2 = (a[image] for a in bottom_right)
        pairs = []
        for i in range(slots):
            for j in range(slots):
                if l1[i] < 0 or l1[i] != l2[j]:
                    continue
                if not abs(np.float32(e1[i]) - np.float32(e2[j])) <= np.float32(max_distance):
                    continue
                if reject_zero_size and not (x2[j] > x1[i] and y2[j] > y1[i]):
                    continue
                if not (x2[j] >= x1[i] and y2[j] >= y1[i]):
                    continue
                score = (np.float32(s1[i]) + np.float32(s2[j])) * np.float32(0.5)
                pairs.append((-score, i, j))
        for row, (negated, i, j) in enumerate(sorted(pairs)[:num_dets]):
            boxes[image, row] = x1[i], y1[i], x2[j], y2[j]
            scores[image, row] = -negated
            corner_scores[image, row] = s1[i], s2[j]
            labels[image, row] = l1[i]
            counts[image] = row + 1
    return boxes, scores, corner_scores, labels, counts
