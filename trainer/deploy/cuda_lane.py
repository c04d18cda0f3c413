"""One batch at a time on a GPU, in torch: a stream, page-locked buffers, and a CUDA graph per shape.

Two lanes overlap: while one computes, the other's canvases are uploaded and its results downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cornernet.engine.backends.finishing import Finishing
from cornernet.engine.backends.placing import Packed
from cornernet.plugins.launchers import Launchers
from cornernet.trainer.deploy.final_boxes import FinalBatch, corner_soft_nms
from cornernet.trainer.deploy.shape_graphs import ShapeGraphs
from cornernet.trainer.deploy.tensor_placing import place_views, wait_for_producers

WARM_UP_RUNS = 2
"""Before a recording: cuDNN chooses algorithms and kernels load in the first, neither of which a graph may hold."""


_RECORDING = threading.Lock()
"""One recording at a time: it begins by waiting for the whole device."""


Canvases = tuple[tuple[int, ...], torch.dtype]
"""Shape and type of a batch."""


class Recording(NamedTuple):
    """A graph with the tensors it reads and writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    outputs: tuple[Tensor, ...]


def page_locked(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Host memory that is copied from and to beside the GPU's work."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


class CudaLane:
    """Not thread-safe: used by whoever holds it. network: (N, H, W, 3), uint8 or float32, on the device ->
    tensors on the device.

    launchers: the kernels, with which images can be placed on the device.
    """

    def __init__(
        self,
        network: Callable[[Tensor], tuple[Tensor, ...]],
        device: torch.device,
        *,
        graphs: bool,
        launchers: Launchers | None = None,
    ) -> None:
        self._network, self._device, self._launchers = network, device, launchers
        # The graphs of a lane never run at the same time, so they compute in the same memory; other lanes have theirs.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)
        self._graphs = ShapeGraphs(self._record) if graphs else ShapeGraphs(self._record, room=0)
        self._staging = torch.empty(0, dtype=torch.uint8)

    def run(self, canvases: np.ndarray | Packed, final: tuple[np.ndarray, Finishing] | None = None) -> list[Any]:
        """(N, H, W, 3), or what makes them -> the outputs on the host. Page-locked memory is uploaded from where
        it lies. final: placements (N, 9) float32 and how the batch becomes final -> boxes, scores, labels, on the host
        or as tensors that are the caller's own, and counts on the host."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream), torch.inference_mode():
            outputs = self._computed(canvases)
            if final is None:
                return self._downloaded(outputs)
            placements, finishing = final
            *values, counts = self._finished(outputs, placements, finishing)
            if not finishing.stays:
                return self._downloaded((*values, counts))
            copies = self._for_the_caller(values)
            return [*copies, *self._downloaded((counts,))]

    def _computed(self, canvases: np.ndarray | Packed) -> tuple[Tensor, ...]:
        """The network's outputs on the device, valid until the next run of this lane."""
        dtype = torch.float32 if canvases.dtype == np.float32 else torch.uint8
        recording = self._graphs.get((tuple(canvases.shape), dtype))
        if recording is None:
            images = torch.empty(tuple(canvases.shape), dtype=dtype, device=self._device)
            self._write(canvases, images)
            return self._network(images)
        self._write(canvases, recording.images)
        recording.graph.replay()
        return recording.outputs

    def _finished(self, outputs: tuple[Tensor, ...], placements: np.ndarray, finishing: Finishing) -> FinalBatch:
        # Not in the staging memory: what it holds may still be on its way.
        staged = page_locked(placements.shape, torch.float32).copy_(torch.from_numpy(placements))
        boxes, scores, _, labels, counts = outputs
        uploaded = staged.to(self._device, non_blocking=True)
        return corner_soft_nms(boxes, scores, labels, counts, uploaded, finishing.rules)

    def _downloaded(self, values: tuple[Tensor, ...]) -> list[np.ndarray]:
        """Copies on the host, once all of the batch is done."""
        downloaded = [page_locked(each.shape, each.dtype).copy_(each, non_blocking=True) for each in values]
        self._stream.synchronize()
        return [each.numpy().copy() for each in downloaded]

    def _for_the_caller(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Copies in memory of the default stream, which is the order in which torch uses memory again that a caller
        lets go: this lane's stream would overwrite what the caller's work still reads."""
        default = torch.cuda.default_stream(self._device)
        with torch.cuda.stream(default), torch.inference_mode(mode=False):  # tensors that autograd takes too
            copies = [torch.empty_like(each) for each in values]
        self._stream.wait_stream(default)
        return [copy.copy_(each) for copy, each in zip(copies, values)]

    def _write(self, canvases: np.ndarray | Packed, images: Tensor) -> None:
        if isinstance(canvases, np.ndarray):
            images.copy_(self._page_locked(canvases), non_blocking=True)
            return
        assert self._launchers is not None, "no backend without them says that it places views"
        uploaded = self._page_locked(canvases.memory).to(self._device, non_blocking=True)
        wait_for_producers(canvases, self._device)
        place_views(self._launchers, canvases, uploaded, images, stream=self._stream.cuda_stream)

    def _page_locked(self, canvases: np.ndarray) -> Tensor:
        given = torch.from_numpy(np.ascontiguousarray(canvases))
        if given.is_pinned():
            return given
        if self._staging.numel() < given.nbytes:
            self._staging = page_locked((given.nbytes,), torch.uint8)
        return self._staging[: given.nbytes].view(given.dtype).view(given.shape).copy_(given)

    def _record(self, canvases: Canvases) -> Recording:
        with _RECORDING:
            return self._record_alone(*canvases)

    def _record_alone(self, shape: tuple[int, ...], dtype: torch.dtype) -> Recording:
        images = torch.zeros(shape, dtype=dtype, device=self._device)
        for _ in range(WARM_UP_RUNS):
            self._network(images)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: the other lane may allocate and run meanwhile, which a global capture would forbid.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            outputs = tuple(self._network(images))
        return Recording(graph, images, outputs)

    def free(self) -> None:
        self._graphs.clear()
