"""One batch at a time on a GPU, in torch: a stream, page-locked buffers, and a CUDA graph per shape.

Two lanes overlap: while one computes, the other's canvases are uploaded and its results downloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cornernet.engine.backends.placing import Packed
from cornernet.plugins.launchers import Launchers
from cornernet.trainer.deploy.shape_graphs import ShapeGraphs
from cornernet.trainer.deploy.tensor_placing import place_views, wait_for_producers

WARM_UP_RUNS = 2
"""Before a recording: cuDNN chooses algorithms and kernels load in the first, neither of which a graph may hold."""


_RECORDING = threading.Lock()
"""One recording at a time: it begins by waiting for the whole device."""


class Recording(NamedTuple):
    """A graph with the tensors it reads and writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    outputs: tuple[Tensor, ...]


def page_locked(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Host memory that is copied from and to beside the GPU's work."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


class CudaLane:
    """Not thread-safe: used by whoever holds it. network: (N, H, W, 3) uint8 on the device -> tensors on the device.

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

    def run(self, canvases: np.ndarray | Packed) -> list[np.ndarray]:
        """(N, H, W, 3) uint8, or what makes them -> the outputs on the host. Page-locked memory is uploaded from where
        it lies."""
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream), torch.inference_mode():
            recording = self._graphs.get(tuple(canvases.shape))
            if recording is None:
                images = torch.empty(tuple(canvases.shape), dtype=torch.uint8, device=self._device)
                self._write(canvases, images)
                outputs = self._network(images)
            else:
                self._write(canvases, recording.images)
                recording.graph.replay()
                outputs = recording.outputs
            downloaded = [page_locked(each.shape, each.dtype).copy_(each, non_blocking=True) for each in outputs]
            self._stream.synchronize()
            return [each.numpy().copy() for each in downloaded]

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
        if self._staging.numel() < given.numel():
            self._staging = page_locked((given.numel(),), torch.uint8)
        return self._staging[: given.numel()].view(given.shape).copy_(given)

    def _record(self, shape: tuple[int, ...]) -> Recording:
        with _RECORDING:
            return self._record_alone(shape)

    def _record_alone(self, shape: tuple[int, ...]) -> Recording:
        images = torch.zeros(shape, dtype=torch.uint8, device=self._device)
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
