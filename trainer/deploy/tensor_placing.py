"""The placing kernel on torch's tensors and streams: images, wherever they lie -> the network's input."""

from __future__ import annotations

import torch
from torch import Tensor

from cornernet.engine.backends.cuda_runtime import LEGACY_STREAM
from cornernet.engine.backends.placing import Packed, launch
from cornernet.plugins.launchers import Launchers


def place_views(launchers: Launchers, packed: Packed, uploaded: Tensor, images: Tensor, *, stream: int) -> None:
    """Put the kernel on `stream`: it writes `images` (N, H, W, 3) of `packed.dtype`. uploaded: `packed.memory` on their
    device.

    Raises BackendError if it cannot be launched.
    """
    assert images.is_contiguous() and images.shape == packed.shape, (images.shape, packed.shape)
    assert images.element_size() == packed.dtype.itemsize, (images.dtype, packed.dtype)
    addresses = {"uploaded": uploaded.data_ptr(), "canvases": images.data_ptr()}
    launch(launchers, packed, **addresses, dtype=packed.dtype, stream=stream)


def wait_for_producers(packed: Packed, device: torch.device) -> None:
    """What is put on torch's current stream from now on runs after what wrote the images."""
    for producer in packed.producers:
        legacy = producer == LEGACY_STREAM
        stream = torch.cuda.default_stream(device) if legacy else torch.cuda.ExternalStream(producer, device)
        torch.cuda.current_stream(device).wait_stream(stream)
