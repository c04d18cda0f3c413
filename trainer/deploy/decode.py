"""Corners to boxes in torch: the twin of the ONNX functions and the CUDA plugins, operator by operator.

Custom operators, so that torch.export keeps each as one node: `corner_peaks`, `corner_windows` and `corner_group` are
the deployed operators of the same name; the others read tensor shapes at run time and become a few standard ONNX nodes.
tests/oracles.py is the definition of ties, NaN and padding; all implementations agree with it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Corners(NamedTuple):
    """The K strongest corners of one branch, each (N, K). Slots without a peak have label -1.

    scores float32 [1]; labels int32; embeddings float32; x, y float32 [cell], offset (Eq. 2) already added.
    """

    scores: Tensor
    labels: Tensor
    embeddings: Tensor
    x: Tensor
    y: Tensor


class CornerPairs(NamedTuple):
    """The best D pairs, see RawDetections; boxes in the coordinates of the corners that made them."""

    boxes: Tensor
    scores: Tensor
    corner_scores: Tensor
    labels: Tensor
    counts: Tensor


def corner_peaks(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The K strongest 3x3 peaks of each heatmap (section 4.2: 3x3 max pooling, then the top 100 corners).

    logits (N, C, h, w) float32, float16 or bfloat16. Higher logit first, ties by lower (label, row, column).
    NaN counts as -inf and -inf is never a peak. Returns scores float32 (sigmoid), labels int32 and
    cells int32 (row * w + column), each (N, K); slots without a peak: score 0, label -1, cell 0.
    """
    return torch.ops.cornernet.corner_peaks(logits, top_k)


def read_cells(embedding: Tensor, offset: Tensor, cells: Tensor, *, clamp: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Embedding and position [cell] at `cells` (N, K) of dense maps (N, 1, h, w) and (N, 2, h, w): the slow twin of
    heads that are computed at these cells only. clamp: see Decoder.clamp_corners. Returns embeddings, x, y, (N, K)."""
    index, width = cells.long(), offset.shape[3]
    x = index % width + offset[:, 0].flatten(1).gather(1, index)
    y = index // width + offset[:, 1].flatten(1).gather(1, index)
    return embedding[:, 0].flatten(1).gather(1, index), x.relu() if clamp else x, y.relu() if clamp else y


def corner_group(
    top_left: Corners,
    bottom_right: Corners,
    num_dets: int = 1000,
    max_distance: float = 0.5,
    reject_zero_size: bool = False,
) -> CornerPairs:
    """Pair corners of one class with close embeddings (section 3.3); the best `num_dets` pairs by mean score.

    A pair survives if its labels are equal and not -1, its embeddings differ by at most `max_distance`, and
    x2 >= x1 and y2 >= y1 (> with `reject_zero_size`); a NaN rejects. Higher score first, ties by lower top-left
    slot, then lower bottom-right slot. Unused rows: box 0, score -1, corner scores 0, label -1.
    """
    found = torch.ops.cornernet.corner_group(*top_left, *bottom_right, num_dets, max_distance, reject_zero_size)
    return CornerPairs(*found)


def corner_windows(features: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a `size` x `size` convolution sees at selected cells; zeros beyond the border.

    features (N, C, h, w), cells (N, K) int32 -> windows (N, C * size * size, K, 1) in the order of a convolution's
    flattened weight, so that a 1x1 convolution over them is that convolution at the cells; columns, rows (N, K) float32
    [cell].
    """
    return torch.ops.cornernet.corner_windows(features, cells, size)


def reject_border(labels: Tensor, cells: Tensor, heatmap: Tensor, *, last: bool) -> Tensor:
    """-1 in place of the labels of corners in row 0 or column 0, or, with `last`, in the last row or column: there an
    object is cut off (CornerNet-Lite's `no_border`; the cell counts, not the offset).

    labels, cells (N, K) int32, heatmap (N, C, h, w) -> (N, K) int32.
    """
    return torch.ops.cornernet.reject_border(labels, cells, heatmap, last)


def attention_peaks(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` strongest 3x3 peaks of an attention map; the order and what a peak is are those of `corner_peaks`.

    logits (N, 1, h, w) -> scores float32 (sigmoid), -1 in unused rows, and cells int32 (row * w + column), (N, count).
    """
    return torch.ops.cornernet.attention_peaks(logits, count)


def cell_size(images: Tensor, features: Tensor) -> Tensor:
    """Canvas pixels per cell, (W/w, H/h, W/w, H/h) float32 (4,); 511/128, not 4 (official decoder).

    images (N, H, W, 3), features (N, C, h, w).
    """
    return torch.ops.cornernet.cell_size(images, features)


def _best(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row, ties by lower index, on every device: (N, M) float32 -> values, indices.

    torch.topk leaves the order of ties open, and sorting a million logits is slow. A key that holds the value in its
    upper and the index in its lower half has no ties.
    """
    bits = (values + 0.0).view(torch.int32).long()  # + 0.0 makes -0 and 0 one value
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # integers in the order of the floats
    index = torch.arange(values.shape[1], device=values.device)
    keys = rising * 2**32 + (2**32 - 1 - index)
    best = 2**32 - 1 - (keys.topk(count, dim=1).values & 0xFFFFFFFF)
    return values.gather(1, best), best


def _pad_columns(values: Tensor, columns: int, fill: float) -> Tensor:
    missing = max(columns - values.shape[1], 0)
    return torch.nn.functional.pad(values, (0, missing), value=fill)


def corner_peaks_in_torch(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    height, width = logits.shape[2:]
    values = logits.float().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    strongest = torch.nn.functional.max_pool2d(values, 3, stride=1, padding=1)
    peaks = torch.where(values == strongest, values, -torch.inf).flatten(1)
    best, index = _best(_pad_columns(peaks, top_k, -torch.inf), top_k)
    found = best > -torch.inf
    index = torch.where(found, index, 0)
    labels = torch.where(found, index // (height * width), -1)
    return best.sigmoid(), labels.int(), (index % (height * width)).int()


corner_peaks_operator = torch.library.custom_op("cornernet::corner_peaks", corner_peaks_in_torch, mutates_args=())


@corner_peaks_operator.register_fake
def _(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    slots = (logits.shape[0], top_k)
    return (
        logits.new_empty(slots, dtype=torch.float32),
        logits.new_empty(slots, dtype=torch.int32),
        logits.new_empty(slots, dtype=torch.int32),
    )


def corner_group_in_torch(
    tl_scores: Tensor,
    tl_labels: Tensor,
    tl_embeddings: Tensor,
    tl_x: Tensor,
    tl_y: Tensor,
    br_scores: Tensor,
    br_labels: Tensor,
    br_embeddings: Tensor,
    br_x: Tensor,
    br_y: Tensor,
    num_dets: int,
    max_distance: float,
    reject_zero_size: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    slots = tl_scores.shape[1]
    x1, y1, x2, y2 = tl_x[:, :, None], tl_y[:, :, None], br_x[:, None, :], br_y[:, None, :]
    ordered = (x2 > x1) & (y2 > y1) if reject_zero_size else (x2 >= x1) & (y2 >= y1)
    same_class = (tl_labels[:, :, None] == br_labels[:, None, :]) & (tl_labels[:, :, None] >= 0)
    # Filled on the device: a tensor made from a Python number is copied there, which no CUDA graph may record.
    limit = torch.full((), max_distance, dtype=torch.float32, device=tl_scores.device)
    near = (tl_embeddings[:, :, None] - br_embeddings[:, None, :]).abs() <= limit
    means = (tl_scores[:, :, None] + br_scores[:, None, :]) * 0.5
    pairs = torch.where(same_class & near & ordered, means, -1.0).flatten(1)
    scores, pair = _best(_pad_columns(pairs, num_dets, -1.0), num_dets)
    found = scores >= 0
    pair = torch.where(found, pair, 0)
    first, second = pair // slots, pair % slots
    sides = (tl_x.gather(1, first), tl_y.gather(1, first), br_x.gather(1, second), br_y.gather(1, second))
    corners = (tl_scores.gather(1, first), br_scores.gather(1, second))
    return (
        torch.where(found[..., None], torch.stack(sides, dim=2), 0.0),
        scores,
        torch.where(found[..., None], torch.stack(corners, dim=2), 0.0),
        torch.where(found, tl_labels.gather(1, first), -1),
        found.sum(dim=1, dtype=torch.int32),
    )


corner_group_operator = torch.library.custom_op("cornernet::corner_group", corner_group_in_torch, mutates_args=())


@corner_group_operator.register_fake
def _(
    tl_scores: Tensor,
    tl_labels: Tensor,
    tl_embeddings: Tensor,
    tl_x: Tensor,
    tl_y: Tensor,
    br_scores: Tensor,
    br_labels: Tensor,
    br_embeddings: Tensor,
    br_x: Tensor,
    br_y: Tensor,
    num_dets: int,
    max_distance: float,
    reject_zero_size: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    images = tl_scores.shape[0]
    return (
        tl_scores.new_empty((images, num_dets, 4)),
        tl_scores.new_empty((images, num_dets)),
        tl_scores.new_empty((images, num_dets, 2)),
        tl_labels.new_empty((images, num_dets)),
        tl_labels.new_empty((images,)),
    )


def kernel_order(maps: Tensor) -> torch.memory_format:
    """In which order the kernels read maps (N, C, h, w): channels side by side (TensorRT's kHWC8) if they lie so and
    fit. Their windows lie in that order too, whatever computes them: compiled code relies on it."""
    fits = maps.element_size() == 2 and maps.shape[1] % 8 == 0
    by_channel = fits and maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if by_channel else torch.contiguous_format


def corner_windows_in_torch(features: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    images, channels, height, width = features.shape
    rows, columns = cells.long() // width, cells.long() % width
    reach = torch.arange(size, device=cells.device) - size // 2
    window_rows = (rows[:, None] + reach.repeat_interleave(size)[:, None]).flatten(1)
    window_columns = (columns[:, None] + reach.repeat(size)[:, None]).flatten(1)
    inside = (window_rows >= 0) & (window_rows < height) & (window_columns >= 0) & (window_columns < width)
    index = torch.where(inside, window_rows * width + window_columns, 0)[:, None].expand(-1, channels, -1)
    values = torch.where(inside[:, None], features.flatten(2).gather(2, index), 0)
    windows = values.reshape(images, channels * size * size, -1, 1)
    return windows.contiguous(memory_format=kernel_order(features)), columns.float(), rows.float()


corner_windows_operator = torch.library.custom_op("cornernet::corner_windows", corner_windows_in_torch, mutates_args=())


@corner_windows_operator.register_fake
def _(features: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    images, slots = cells.shape
    windows = features.new_empty((images, features.shape[1] * size * size, slots, 1))
    return (
        windows.contiguous(memory_format=kernel_order(features)),
        features.new_empty((images, slots), dtype=torch.float32),
        features.new_empty((images, slots), dtype=torch.float32),
    )


@torch.library.custom_op("cornernet::reject_border", mutates_args=())
def _reject_border(labels: Tensor, cells: Tensor, heatmap: Tensor, last: bool) -> Tensor:
    height, width = heatmap.shape[2:]
    row, column = (height - 1, width - 1) if last else (0, 0)
    return torch.where((cells // width == row) | (cells % width == column), -1, labels)


@_reject_border.register_fake
def _(labels: Tensor, cells: Tensor, heatmap: Tensor, last: bool) -> Tensor:
    return torch.empty_like(labels)


@torch.library.custom_op("cornernet::attention_peaks", mutates_args=())
def _attention_peaks(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    scores, labels, cells = corner_peaks(logits, count)
    return torch.where(labels < 0, -1.0, scores), cells


@_attention_peaks.register_fake
def _(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    slots = (logits.shape[0], count)
    return logits.new_empty(slots, dtype=torch.float32), logits.new_empty(slots, dtype=torch.int32)


@torch.library.custom_op("cornernet::cell_size", mutates_args=())
def _cell_size(images: Tensor, features: Tensor) -> Tensor:
    across, down = images.shape[2] / features.shape[3], images.shape[1] / features.shape[2]
    size = torch.full((4,), across, dtype=torch.float32, device=features.device)  # filled on the device, as above
    size[1::2].fill_(down)
    return size


@_cell_size.register_fake
def _(images: Tensor, features: Tensor) -> Tensor:
    return features.new_empty((4,), dtype=torch.float32)
