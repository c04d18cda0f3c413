"""PyTorch as a backend: live weights behind the engine's interface, for validation and as reference in benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from cornernet.engine.backends import RawDetections
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import ModelCard
from cornernet.trainer.deploy.decode import CornerPairs
from cornernet.trainer.deploy.deployed import DeployedNetwork
from cornernet.trainer.network.corner_net import CornerNet


class TorchBackend:
    """The deployed network of a checkpoint. The weights are copied: training may go on.

    half: float16 network, as in a file exported with fp16. compiled: through torch.compile; the first run compiles.
    Raises BackendError if `device` is not there.
    """

    def __init__(
        self,
        network: CornerNet,
        card: ModelCard,
        *,
        device: torch.device | str = "cpu",
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        self.name = "PyTorch compiled" if compiled else "PyTorch"
        self.card = card
        self.device = torch.device(device)
        self._network: Callable[[torch.Tensor], CornerPairs] | None = None
        try:
            deployed = DeployedNetwork(network, card, half=half).to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise BackendError(f"PyTorch cannot use device {self.device}: {error}. Use device='cpu'.") from error
        self._network = torch.compile(deployed) if compiled else deployed

    def run(self, canvases: np.ndarray) -> RawDetections:
        """See `Backend.run`. Raises BackendError if PyTorch fails, for example for lack of memory."""
        if self._network is None:
            raise BackendError("this backend was closed; open another one")
        images = torch.from_numpy(np.ascontiguousarray(canvases)).to(self.device)
        try:
            with torch.inference_mode():
                outputs = self._network(images)
        except RuntimeError as error:
            raise BackendError(f"PyTorch failed on canvases {canvases.shape} on {self.device}: {error}") from error
        return RawDetections(*(output.cpu().numpy() for output in outputs))

    def close(self) -> None:
        """Free the network. `run` fails afterwards."""
        self._network = None
