"""The official `soft_nms` and `soft_nms_merge`, with the side effects of rewriting their array in place.

Only the official protocol needs this file: its results depend on where rows end up. `engine/results/soft_nms.py` is the
definition. The quirks are two switches, see `Protocol.keep_stale` and `Protocol.move_corner_scores`.
"""

from __future__ import annotations

import numpy as np

from cornernet.engine.results.soft_nms import Method

_ONE = np.float32(1)


def soft_nms_in_place(
    rows: np.ndarray,
    *,
    method: Method,
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 0.001,
    iou_pixel: int = 1,
    merge_exponent: float | None = None,
    move_corner_scores: bool = False,
) -> int:
    """Soft-NMS over the rows of one class, rewriting them. Returns how many are real; those behind are stale.

    Args:
        rows: (n, 7) float32 x1 y1 x2 y2 [px], score, top-left score, bottom-right score; changed. The first rows
            become the boxes taken, in order. A row that falls below `min_score` is replaced by the last one, whose old
            copy stays behind.
        merge_exponent: `weight_exp` of `soft_nms_merge`; None: `soft_nms`.
        move_corner_scores: False: columns 5 and 6 stay where they are when a row moves.
    """
    count, place = len(rows), 0
    moving = 7 if move_corner_scores else 5
    while place < count:
        best = place + int(rows[place:count, 4].argmax())
        rows[[place, best], :moving] = rows[[best, place], :moving]
        taken, start = rows[place].copy(), place + 1
        overlap = _iou(taken, rows[start:count], iou_pixel)
        weights = np.where(overlap > 0, _weights(overlap, method, sigma, iou_threshold), _ONE)
        decayed = weights * rows[start:count, 4]
        visited, places, count = _visits((overlap > 0) & (decayed < min_score), start, count)
        seen = rows[visited]
        seen[:, 4] = decayed[visited - start]
        if not move_corner_scores:
            seen[:, 5:] = rows[places, 5:]
        if merge_exponent is not None:
            share = ((_ONE - weights[visited - start]).astype(np.float64) ** merge_exponent).astype(np.float32)
            terms = np.vstack((_corner_terms(taken[None], np.ones(1, np.float32)), _corner_terms(seen, share)))
            # A running float32 sum, as the official loop keeps.
            x1, y1, x2, y2, top_left, bottom_right = np.cumsum(terms, axis=0, dtype=np.float32)[-1]
            rows[place, :4] = x1 / top_left, y1 / top_left, x2 / bottom_right, y2 / bottom_right
        rows[places] = seen  # of several visits to one place the last one stays
        place = start
    if merge_exponent is not None:
        # The official loop also runs over stale rows, multiplies and divides by one weight: a last digit may change.
        rows[count:, :4] = rows[count:, :4] * rows[count:, [5, 5, 6, 6]] / rows[count:, [5, 5, 6, 6]]
    return count


def _iou(taken: np.ndarray, others: np.ndarray, pixel: int) -> np.ndarray:
    """Overlap of one row (7,) with others (m, 7) -> (m,) float32, 0 where they do not meet."""
    x1, y1, x2, y2 = others[:, :4].T
    # The official C code adds its pixel in double precision and keeps float32 in between; so the last digit agrees.
    width = (np.minimum(taken[2], x2) - np.maximum(taken[0], x1) + np.float64(pixel)).astype(np.float32)
    height = (np.minimum(taken[3], y2) - np.maximum(taken[1], y1) + np.float64(pixel)).astype(np.float32)
    areas = ((x2 - x1 + np.float64(pixel)) * (y2 - y1 + np.float64(pixel))).astype(np.float32)
    area = (taken[2] - taken[0] + np.float64(pixel)) * (taken[3] - taken[1] + np.float64(pixel))
    common = width * height
    union = (area + areas - common).astype(np.float32)
    meets = (width > 0) & (height > 0) & (union > 0)
    return np.divide(common, union, out=np.zeros_like(common), where=meets)


def _weights(overlap: np.ndarray, method: Method, sigma: float, iou_threshold: float) -> np.ndarray:
    if method == "gaussian":
        return np.exp((-(overlap * overlap) / np.float32(sigma)).astype(np.float64)).astype(np.float32)
    weak = _ONE - overlap if method == "linear" else np.zeros_like(overlap)
    return np.where(overlap > np.float32(iou_threshold), weak, _ONE)


def _corner_terms(rows: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(m, 7) and (m,) -> (m, 6): x1 y1 x2 y2 and the two weights, each times corner score and share."""
    top_left, bottom_right = rows[:, 5], rows[:, 6]
    columns = (rows[:, 0] * top_left, rows[:, 1] * top_left, rows[:, 2] * bottom_right, rows[:, 3] * bottom_right)
    return np.stack((*columns, top_left, bottom_right), axis=1) * share[:, None]


def _visits(dropped: np.ndarray, start: int, count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """How the official loop walks from `start` to `count`: rows, the places where it meets them, and the new count.

    Where a row is dropped the last row moves in and is met there next, at the same place, before the loop goes on.
    """
    moved_rows, moved_places = [], []
    end, dropped_where_it_stood = count, 0
    for place in (np.flatnonzero(dropped) + start).tolist():
        if place >= end:
            break
        row = place
        while dropped[row - start] and not dropped_where_it_stood:
            end -= 1
            if end > place:
                row = end
                moved_rows.append(row)
                moved_places.append(place)
            else:
                dropped_where_it_stood = 1
    own = np.arange(start, end + dropped_where_it_stood)
    rows = np.concatenate((own, np.array(moved_rows, np.int64)))
    places = np.concatenate((own, np.array(moved_places, np.int64)))
    order = np.argsort(places, kind="stable")
    return rows[order], places[order], end
