"""The soft-NMS kernel behind a runtime: its outputs on the device become final boxes, there or on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cornernet.engine.backends.cuda_memory import DeviceBuffer, PinnedBuffer, Stream
from cornernet.engine.backends.cuda_runtime import Cuda
from cornernet.engine.backends.device_results import Block, Blocks, HeldArray
from cornernet.engine.backends.finishing import PLACEMENT_FIELDS, Final, Finishing
from cornernet.engine.errors import BackendError
from cornernet.plugins.launchers import LaunchError, Launchers

FLOAT, INTEGER = np.dtype(np.float32), np.dtype(np.int32)

INPUTS = ("boxes", "scores", "labels", "counts")
"""The network's outputs that the kernel reads, and their types."""

TYPES = (FLOAT, FLOAT, INTEGER, INTEGER)


class Finisher:
    """Memory for one batch on its way, on one stream. Staging grows with the largest batch, and is kept."""

    def __init__(self, cuda: Cuda, stream: Stream, launchers: Launchers, blocks: Blocks) -> None:
        self._cuda, self._stream, self._launchers, self._blocks = cuda, stream, launchers, blocks
        self._placements, self._staging = DeviceBuffer(cuda, 0), PinnedBuffer(cuda, 0)
        self._downloaded = PinnedBuffer(cuda, 0)

    def enqueue(
        self, outputs: Sequence[int], candidates: int, placements: np.ndarray, finishing: Finishing
    ) -> Callable[[], list[Final]]:
        """Put soft-NMS of a batch on the stream -> what gives its results, to be called once the stream is done.

        outputs: addresses of INPUTS, (N, candidates, ...); placements (N, 9) float32. Raises BackendError, CudaError.
        """
        images, rules = len(placements), finishing.rules
        assert placements.shape == (images, PLACEMENT_FIELDS) and placements.dtype == FLOAT, placements.shape
        # In one piece, so that one copy brings all of it to the host.
        shapes = ((images, rules.limit, 4), (images, rules.limit), (images, rules.limit), (images,))
        ends = np.cumsum([4 * int(np.prod(shape)) for shape in shapes]).tolist()
        starts = [0, *ends[:-1]]
        self._grow(placements.nbytes, ends[-1])
        self._staging.array(placements.shape, FLOAT)[...] = placements
        self._stream.upload(self._placements.address, self._staging.address, placements.nbytes)
        block = self._blocks.borrow(ends[-1], self._stream)
        written = [block.buffer.address + start for start in starts]
        settings = rules._asdict()
        try:
            self._launchers.corner_soft_nms(
                [*outputs, self._placements.address],
                written,
                images,
                candidates,
                stream=self._stream.handle,
                **settings,
            )
        except LaunchError as error:
            raise BackendError(f"boxes could not be made final on the device: {error}") from error
        first = starts[-1] if finishing.stays else 0
        self._stream.download(self._downloaded.address + first, block.buffer.address + first, ends[-1] - first)

        def results() -> list[Final]:
            memory = self._downloaded.array((ends[-1],), np.dtype(np.uint8))
            counts = memory[starts[-1] :].view(INTEGER).tolist()
            if finishing.stays:
                return [self._held(block, starts, rules.limit, image, count) for image, count in enumerate(counts)]
            whole = [
                memory[start:end].view(dtype).reshape(shape).copy()  # it is overwritten by the next batch
                for start, end, shape, dtype in zip(starts, ends, shapes[:3], TYPES)
            ]
            return [Final(*(values[image, :count] for values in whole)) for image, count in enumerate(counts)]

        return results

    def _held(self, block: Block, starts: list[int], limit: int, image: int, count: int) -> Final:
        row = image * limit * 4
        return Final(
            HeldArray(block, starts[0] + 4 * row, (count, 4), FLOAT),
            HeldArray(block, starts[1] + row, (count,), FLOAT),
            HeldArray(block, starts[2] + row, (count,), INTEGER),
        )

    def _grow(self, placements: int, results: int) -> None:
        """Nothing is on its way here: whoever finishes a batch waits for the stream."""
        if placements > self._placements.size:
            self._placements.free()
            self._staging.free()
            self._placements = DeviceBuffer(self._cuda, placements)
            self._staging = PinnedBuffer(self._cuda, placements)
        if results > self._downloaded.size:
            self._downloaded.free()
            self._downloaded = PinnedBuffer(self._cuda, results)

    def free(self) -> None:
        self._placements.free()
        self._staging.free()
        self._downloaded.free()
