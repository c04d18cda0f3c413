"""What programs wrap around a network's weights: files with other things beside them, prefixes, averages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_CONTAINERS = ("state_dict", "model_state_dict", "model", "network", "net", "params", "ema_state_dict")
"""Under which names programs keep the weights in a larger file, the preferred one first."""

_DEEPEST = 3
"""Containers in containers that are opened; a pickle may hold itself."""

_PREFIXES = ("module.", "model.")
"""Put before every name by DataParallel, the official code's own wrapper, Lightning; also one after the other."""

_COUNTERS = ("steps", "n_averaged")
"""What mmengine's and PyTorch's averaged models count beside the averages."""

_AVERAGE = "ema_"
_MMDETECTION_WORDS = (
    r"aftpool_conv|bbox_head|(?:tl|br)_(?:emb|heat|off|pool)|direction[12]_conv|hourglass_modules"
    r"|num_batches_tracked|out_convs|remap_convs|running_(?:mean|var)"
)
"""The parts of mmdetection's names that hold an underscore of their own."""


def unwrapped(content: Any) -> Any:
    """The state_dict in what a program saved; whatever holds no container is given back as it is."""
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        found = [content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping) and content[name]]
        if not found:
            break
        content = found[0]
    return content


def bare_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the network's own names: without prefixes that all share, counters, and averages of others."""
    bare = {name: tensor for name, tensor in tensors.items() if name not in _COUNTERS}
    while bare and (prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None)):
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return _without_averages(bare)


def _without_averages(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the buffers of mmcv's EMAHook, `ema_` and the name with underscores for dots.

    At the end of each epoch the hook swaps the two, so that a saved file holds the averages under the plain names and
    the last step's weights in the buffers: the plain names win. Only a file without them is read from its buffers.
    mmengine swaps likewise between state_dict and ema_state_dict.
    """
    averages = [name for name in tensors if name.startswith(_AVERAGE)]
    plain = {name: tensor for name, tensor in tensors.items() if not name.startswith(_AVERAGE)}
    if not averages or {_AVERAGE + name.replace(".", "_") for name in plain} & set(averages):
        return plain
    return plain | {_dotted(name.removeprefix(_AVERAGE)): tensors[name] for name in averages}


def _dotted(name: str) -> str:
    """mmdetection's name with its dots: `bbox_head_tl_pool_0_conv2_bn_bias` -> `bbox_head.tl_pool.0.conv2.bn.bias`."""
    return ".".join(re.findall(rf"(?:{_MMDETECTION_WORDS})(?=_|$)|[^_]+", name))
