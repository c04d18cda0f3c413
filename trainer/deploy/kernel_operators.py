"""The custom operators on CUDA tensors, by the kernels of libcornernet_plugins.so. No extension to compile.

The library's C functions take addresses and a stream; torch allocates what they write. So they run on torch's current
stream, in its memory, and are recorded in its CUDA graphs. Without the library torch's own operators run: the same
numbers, more slowly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from cornernet.engine.backends.finishing import NmsRules
from cornernet.plugins import library_path
from cornernet.plugins.launchers import SOFT_NMS, LaunchError, Launchers
from cornernet.trainer.deploy import decode, final_boxes
from cornernet.trainer.network import corner_pool

log = logging.getLogger("cornernet.torch")

TYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
LONGEST_SIDE, MOST_SLOTS, MOST_DETS, WINDOWS = 1024, 1000, 3840, (1, 3, 5, 7)
"""Beyond these the kernels refuse (kernels/*.h), and torch's operators take over."""


class KernelOperators:
    """The operators on tensors. stream: handle of a device's stream to run on, asked at every call."""

    def __init__(self, launchers: Launchers, stream: Callable[[torch.device], int]) -> None:
        self._launchers, self._stream = launchers, stream

    def pool(self, first: Tensor, second: Tensor, corner: str) -> Tensor:
        """Corner pooling of two (N, C, h, w) maps. Maps whose channels lie side by side, as convolutions on tensor
        cores leave them, are pooled as they are."""
        assert first.shape == second.shape and first.dtype == second.dtype, (first.shape, second.shape)
        pooled = torch.empty_like(first)  # compiled code relies on its strides
        memory = decode.kernel_order(first)
        first, second = (_aligned(each.contiguous(memory_format=memory)) for each in (first, second))
        written = pooled if pooled.is_contiguous(memory_format=memory) else torch.empty_like(first)
        self._launchers.corner_pool(
            first.data_ptr(),
            second.data_ptr(),
            written.data_ptr(),
            first.shape,
            corner=corner,
            type=TYPES[first.dtype],
            layout="channels_last_8" if memory == torch.channels_last else "planes",
            stream=self._stream(first.device),
        )
        return pooled if written is pooled else pooled.copy_(written)

    def peaks(self, logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `decode.corner_peaks`."""
        logits = logits.contiguous()
        slots = (logits.shape[0], top_k)
        scores = logits.new_empty(slots, dtype=torch.float32)
        labels, cells = (logits.new_empty(slots, dtype=torch.int32) for _ in range(2))
        scratch = _bytes(self._launchers.corner_peaks_workspace(logits.shape, top_k), logits)
        outputs = scores.data_ptr(), labels.data_ptr(), cells.data_ptr()
        self._launchers.corner_peaks(
            logits.data_ptr(),
            *outputs,
            scratch.data_ptr(),
            logits.shape,
            top_k=top_k,
            type=TYPES[logits.dtype],
            stream=self._stream(logits.device),
        )
        return scores, labels, cells

    def windows(self, features: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `decode.corner_windows`. Windows of maps whose channels lie side by side lie in that order too."""
        memory = decode.kernel_order(features)
        channels_last = memory == torch.channels_last
        features, cells = _aligned(features.contiguous(memory_format=memory)), cells.contiguous()
        images, slots = cells.shape
        depth = features.shape[1] * size * size
        windows = features.new_empty((images, slots, 1, depth) if channels_last else (images, depth, slots, 1))
        columns, rows = (features.new_empty((images, slots), dtype=torch.float32) for _ in range(2))
        self._launchers.corner_windows(
            features.data_ptr(),
            cells.data_ptr(),
            windows.data_ptr(),
            columns.data_ptr(),
            rows.data_ptr(),
            features.shape,
            slots,
            size=size,
            type=TYPES[features.dtype],
            layout="channels_last_8" if channels_last else "planes",
            stream=self._stream(features.device),
        )
        return windows.permute(0, 3, 1, 2) if channels_last else windows, columns, rows

    def group(
        self, corners: tuple[Tensor, ...], num_dets: int, max_distance: float, reject_zero_size: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """See `decode.corner_group`; corners: the five fields of both sides."""
        inputs = [each.contiguous() for each in corners]
        images, slots = inputs[0].shape
        like = inputs[0]
        shapes = [(images, num_dets, 4), (images, num_dets), (images, num_dets, 2), (images, num_dets), (images,)]
        types = [torch.float32] * 3 + [torch.int32] * 2
        boxes, scores, corner_scores, labels, counts = (like.new_empty(s, dtype=t) for s, t in zip(shapes, types))
        outputs = [each.data_ptr() for each in (boxes, scores, corner_scores, labels, counts)]
        scratch = _bytes(self._launchers.corner_group_workspace(images, slots), like)
        self._launchers.corner_group(
            [each.data_ptr() for each in inputs],
            outputs,
            scratch.data_ptr(),
            images,
            slots,
            num_dets=num_dets,
            max_distance=max_distance,
            reject_zero_size=reject_zero_size,
            stream=self._stream(like.device),
        )
        return boxes, scores, corner_scores, labels, counts

    def soft_nms(self, found: Sequence[Tensor], limit: int, **rules: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `final_boxes.corner_soft_nms`; found: its five tensors, rules: see `Launchers`."""
        inputs = [each.contiguous() for each in found]
        images, candidates = found[1].shape
        boxes, scores = (found[1].new_empty(shape) for shape in ((images, limit, 4), (images, limit)))
        labels, counts = (found[2].new_empty(shape) for shape in ((images, limit), (images,)))
        self._launchers.corner_soft_nms(
            [each.data_ptr() for each in inputs],
            [each.data_ptr() for each in (boxes, scores, labels, counts)],
            images,
            candidates,
            limit=limit,
            stream=self._stream(boxes.device),
            **rules,
        )
        return boxes, scores, labels, counts


def _bytes(size: int, like: Tensor) -> Tensor:
    return like.new_empty((max(size, 1),), dtype=torch.uint8)


def _aligned(maps: Tensor) -> Tensor:
    """Vectors of 16 bytes need addresses that a view into the middle of another tensor may not have."""
    return maps if maps.data_ptr() % 16 == 0 else maps.clone(memory_format=torch.preserve_format)


def on_its_device(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` on the device of its first tensor: a launch on a stream of another device than the current one fails."""

    @wraps(kernel)
    def run(first: Tensor, *rest: Any) -> Any:
        with torch.cuda.device_of(first):
            return kernel(first, *rest)

    return run


def register(kernels: KernelOperators, device_type: str) -> None:
    """Make the kernels what the custom operators run for tensors of this type of device. Once per process and type."""

    def pooling(operator: Any, in_torch: Callable[[Tensor, Tensor], Tensor], corner: str) -> None:
        @operator.register_kernel(device_type)
        @on_its_device
        def _(a: Tensor, b: Tensor) -> Tensor:
            fits = a.dtype in TYPES and max(a.shape[2:]) <= LONGEST_SIDE
            return kernels.pool(a, b, corner) if fits else in_torch(a, b)

    pooling(corner_pool.corner_pool_top_left, corner_pool.pool_top_left_in_torch, "top_left")
    pooling(corner_pool.corner_pool_bottom_right, corner_pool.pool_bottom_right_in_torch, "bottom_right")

    @decode.corner_peaks_operator.register_kernel(device_type)
    @on_its_device
    def _(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
        fits = logits.dtype in TYPES and top_k <= MOST_SLOTS
        return kernels.peaks(logits, top_k) if fits else decode.corner_peaks_in_torch(logits, top_k)

    @decode.corner_windows_operator.register_kernel(device_type)
    @on_its_device
    def _(features: Tensor, cells: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        fits = features.dtype in TYPES and size in WINDOWS
        run = kernels.windows if fits else decode.corner_windows_in_torch
        return run(features, cells, size)

    @decode.corner_group_operator.register_kernel(device_type)
    @on_its_device
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
        sides = (tl_scores, tl_labels, tl_embeddings, tl_x, tl_y, br_scores, br_labels, br_embeddings, br_x, br_y)
        fits = tl_scores.shape[1] <= MOST_SLOTS and num_dets <= MOST_DETS
        run = kernels.group if fits else lambda corners, *rules: decode.corner_group_in_torch(*corners, *rules)
        return run(sides, num_dets, max_distance, reject_zero_size)

    @final_boxes.corner_soft_nms_operator.register_kernel(device_type)
    @on_its_device
    def _(*given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tensors, (limit, number, *others) = given[:5], given[5:]
        (method,) = (name for name, its_number in SOFT_NMS.items() if its_number == number)
        return kernels.soft_nms(tensors, limit, method=method, **dict(zip(NmsRules._fields[2:], others, strict=True)))


@cache
def register_cuda_kernels() -> bool:
    """Use the library's kernels for CUDA tensors from now on, if it is built and runs here; says once if not."""
    library, problem = library_path(), "is not built"
    if library is not None:
        try:
            launchers = Launchers(library)
            kernels = KernelOperators(launchers, lambda device: torch.cuda.current_stream(device).cuda_stream)
            try_out(kernels, "cuda")
            register(kernels, "cuda")
            return True
        except (OSError, AttributeError, LaunchError) as error:  # a file of another machine, or of an older checkout
            problem = f"{library} cannot be used ({error})"
    log.warning(
        "the plugin library %s, so torch's own operators run in place of the CUDA kernels: the same boxes, more "
        "slowly. Build it with: cmake -B build && cmake --build build -j2",
        problem,
    )
    return False


def try_out(kernels: KernelOperators, device: str) -> None:
    """Raises LaunchError here, not in the middle of a batch, if the library was built for another GPU or driver."""
    cell = torch.zeros((1, 1, 1, 1), device=device)
    kernels.pool(cell, cell, "top_left")
