"""PyTorch as a backend: weights behind the engine's interface, on a GPU without TensorRT, and as the reference.

On CUDA the custom operators run the project's kernels (kernel_operators.py), each shape becomes a CUDA graph, and two
batches overlap (cuda_lane.py).
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.backends.device_arrays import DeviceImage
from cornernet.engine.backends.finishing import Final, Finishing, split
from cornernet.engine.backends.placing import Packed, check_device, open_launchers
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.deploy.cuda_lane import CudaLane
from cornernet.trainer.deploy.decode import CornerPairs
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.deploy.final_boxes import corner_soft_nms
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
    shape compiles, which takes a minute and a C++ compiler. graphs: CUDA graphs, of compiled networks too.
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
            self.device = _with_index(torch.device(device))
            deployed = DeployedNetwork(network, card, dtype=PRECISIONS[precision]).to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise BackendError(f"PyTorch cannot use device {device}: {error}. Use device='cpu'.") from error
        on_gpu = self.device.type == "cuda"
        if channels_last or (channels_last is None and on_gpu and precision != "fp32"):
            deployed = deployed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kernels = on_gpu and register_cuda_kernels()
        self._launchers = open_launchers() if kernels else None
        self._compiled = compiled
        self._network: Callable[[torch.Tensor], CornerPairs] | None = torch.compile(deployed) if compiled else deployed
        self.name = "PyTorch" + " compiled" * compiled + f" {precision}" * (precision != "fp32") + " kernels" * kernels
        self._lanes: queue.LifoQueue[CudaLane] = queue.LifoQueue()
        self.in_flight = LANES if on_gpu else 1
        self.computes_on_cpu, self.takes_float = not on_gpu, True
        if on_gpu:
            # Weights were moved on this thread's stream, for which those of the lanes do not wait.
            torch.cuda.synchronize(self.device)
            for _ in range(LANES):
                self._lanes.put(CudaLane(self._network, self.device, graphs=graphs, launchers=self._launchers))

    def allocate(self, size: int) -> np.ndarray:
        """(size,) uint8; on a GPU page-locked, so that canvases in it are uploaded without another copy."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=self.device.type == "cuda").numpy()

    def run(self, canvases: np.ndarray) -> Outputs:
        """See `Backend.run`. Raises BackendError if PyTorch fails, for example for lack of memory."""
        return named_outputs(self._run(canvases))

    @property
    def places_views(self) -> bool:
        """Whether images may be placed on the device: on a GPU, with the project's kernels."""
        return self._launchers is not None

    def run_views(self, packed: Packed) -> Outputs:
        """`run` for canvases that are placed on the GPU. Raises as `run`."""
        return named_outputs(self._run(packed))

    @property
    def finishes(self) -> bool:
        """Whether batches may come back final: of a network that looks once."""
        return self.card.saccade is None

    def run_final(self, canvases: np.ndarray | Packed, placements: np.ndarray, finishing: Finishing) -> list[Final]:
        """`run` and soft-NMS, see finishing.py; results that stay are tensors. Raises as `run`."""
        boxes, scores, labels, counts = self._run(canvases, (placements, finishing))
        return split(boxes, scores, labels, counts)

    def check_image(self, image: DeviceImage) -> None:
        """Raises ImageError if the image does not lie on the device of the network, whole."""
        assert self._launchers is not None
        with torch.cuda.device(self.device):
            check_device(map(self._launchers.device_of, image.ends), torch.cuda.current_device())

    def _run(self, canvases: np.ndarray | Packed, final: tuple[np.ndarray, Finishing] | None = None) -> list[Any]:
        """The network's outputs, or with `final` boxes, scores, labels and counts; counts are always on the host."""
        network = self._network
        if network is None:
            raise BackendError("this backend was closed; open another one")
        if canvases.dtype not in (np.uint8, np.float32):  # on a GPU they would become uint8, cut off
            raise BackendError(f"canvases have type {canvases.dtype}; expected uint8, or float32 in grey levels.")
        try:
            if isinstance(canvases, Packed) or self.device.type == "cuda":
                return self._run_in_lane(canvases, final)
            images = torch.from_numpy(np.ascontiguousarray(canvases)).to(self.device)
            with torch.inference_mode():
                outputs: tuple[torch.Tensor, ...] = network(images)
                if final is not None:
                    found = outputs[0], outputs[1], outputs[3], outputs[4]
                    outputs = corner_soft_nms(*found, torch.from_numpy(final[0]).to(self.device), final[1].rules)
            stays = final is not None and final[1].stays
            *values, counts = outputs
            return [each.clone() if stays else each.cpu().numpy() for each in values] + [counts.cpu().numpy()]
        except BackendError:
            raise
        except RuntimeError as error:
            needs = " (compiled=True needs a C++ compiler, on a GPU Triton)" if self._compiled else ""
            raise BackendError(
                f"PyTorch failed on canvases {canvases.shape} on {self.device}: {error}{needs}"
            ) from error

    def _run_in_lane(self, canvases: np.ndarray | Packed, final: tuple[np.ndarray, Finishing] | None) -> list[Any]:
        lane = self._lanes.get()
        try:
            if self._network is None:  # it was closed meanwhile
                raise BackendError("this backend was closed; open another one")
            return lane.run(canvases, final)
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        """Wait for what runs, free the network. `run` fails afterwards."""
        network, self._network = self._network, None
        if network is not None and self.device.type == "cuda":
            for lane in [self._lanes.get() for _ in range(LANES)]:
                lane.free()
                self._lanes.put(lane)  # for whoever waits for one, to be told


def _with_index(device: torch.device) -> torch.device:
    """ "cuda" as the device that is current now, in this thread: in the threads that run batches another one may be."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())
