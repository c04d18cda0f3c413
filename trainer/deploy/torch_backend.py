"""PyTorch as a backend: weights behind the engine's interface, on a GPU without TensorRT, and as the reference.

On CUDA the custom operators run the project's kernels (kernel_operators.py), each shape becomes a CUDA graph, and two
batches overlap (cuda_lane.py).
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.deploy.cuda_lane import CudaLane
from cornernet.trainer.deploy.decode import CornerPairs
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.deploy.kernel_operators import register_cuda_kernels
from cornernet.trainer.network.corner_net import CornerNet

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

LANES = 2
"""Batches on a GPU at once: one computes while the other's data move."""


class TorchBackend:
    """The deployed network of a checkpoint. The weights are copied: training may go on.

    precision: of the network; the decoder computes in float32, as in a file exported with it. channels_last: the memory
    order in which tensor cores compute; None: on CUDA in 16 bits. compiled: through torch.compile; the first run of a
    shape compiles. graphs: CUDA graphs; with `compiled` torch makes its own.
    Raises BackendError if `device` is not there, or the precision is unknown.
    """

    def __init__(
        self,
        network: CornerNet,
        card: ModelCard,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        channels_last: bool | None = None,
        compiled: bool = False,
        graphs: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise BackendError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}.")
        self.card = card
        try:
            self.device = torch.device(device)
            deployed = DeployedNetwork(network, card, dtype=PRECISIONS[precision]).to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise BackendError(f"PyTorch cannot use device {device}: {error}. Use device='cpu'.") from error
        on_gpu = self.device.type == "cuda"
        if channels_last or (channels_last is None and on_gpu and precision != "fp32"):
            deployed = deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kernels = on_gpu and register_cuda_kernels()
        self._network: Callable[[torch.Tensor], CornerPairs] | None = torch.compile(deployed) if compiled else deployed
        self.name = "PyTorch" + " compiled" * compiled + f" {precision}" * (precision != "fp32") + " kernels" * kernels
        self._lanes: queue.LifoQueue[CudaLane] = queue.LifoQueue()
        self.in_flight = LANES if on_gpu else 1
        self.computes_on_cpu = self.takes_float = not on_gpu
        if on_gpu:
            for _ in range(LANES):
                self._lanes.put(CudaLane(self._network, self.device, graphs=graphs and not compiled))

    def allocate(self, size: int) -> np.ndarray:
        """(size,) uint8; on a GPU page-locked, so that canvases in it are uploaded without another copy."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda").numpy()

    def run(self, canvases: np.ndarray) -> Outputs:
        """See `Backend.run`. Raises BackendError if PyTorch fails, for example for lack of memory."""
        network = self._network
        if network is None:
            raise BackendError("this backend was closed; open another one")
        try:
            if self.device.type == "cuda":
                return named_outputs(self._run_in_lane(canvases))
            images = torch.from_numpy(np.ascontiguousarray(canvases)).to(self.device)
            with torch.inference_mode():
                return named_outputs([output.cpu().numpy() for output in network(images)])
        except RuntimeError as error:
            raise BackendError(f"PyTorch failed on canvases {canvases.shape} on {self.device}: {error}") from error

    def _run_in_lane(self, canvases: np.ndarray) -> list[np.ndarray]:
        lane = self._lanes.get()
        try:
            return lane.run(canvases)
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        """Wait for what runs, free the network. `run` fails afterwards."""
        if self._network is not None and self.device.type == "cuda":
            for lane in [self._lanes.get() for _ in range(LANES)]:
                lane.free()
        self._network = None
