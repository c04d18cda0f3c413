"""From a weight file of another project to our network and its model card."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cornernet.engine.arguments import as_path
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.trainer.import_weights.coco_classes import COCO_CATEGORY_IDS, COCO_NAMES
from cornernet.trainer.import_weights.key_names import Origin, our_name, recognise
from cornernet.trainer.import_weights.weight_file import read_weight_file
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.cost import count_macs, count_parameters
from cornernet.trainer.network.presets import PRESET_DECODERS, PRESET_SACCADES, NetworkConfig, preset

_CLASSES_FROM = "heads.0.top_left.heatmap.1.weight"
_COUNTER = ".num_batches_tracked"
# 511 x 511 is the size all three projects train at, but for CornerNet-Saccade.
_TRAIN_SIDE = 511
_PRESETS = {Origin.LITE_SQUEEZE: "squeeze", Origin.LITE_SACCADE: "saccade"}  # the others: hourglass-104

# The official code mirrors corners pixel by pixel, x -> width - 1 - x; mmdetection mirrors edges, as we do.
_OFFICIAL: dict[str, Any] = {"trained_mirror": "pixels"}
# CornerNet-Lite tests CornerNet-Squeeze, unlike CornerNet, on the plain view alone (test_flipped is false).
_SQUEEZE: dict[str, Any] = {**_OFFICIAL, "decoder": PRESET_DECODERS["squeeze"], "test_mirror": False}
# CornerNet-Saccade sees views and crops of one size.
_SACCADE: dict[str, Any] = {
    **_OFFICIAL,
    "decoder": PRESET_DECODERS["saccade"],
    "saccade": PRESET_SACCADES["saccade"],
    "train_size": (255, 255),
    "max_size": 256,
    "test_mirror": False,
}
# mmdetection: RGB, ImageNet's mean and deviation of 0..255 values, padding of mean colour, corners inside the canvas
# before pairing, no boxes without area.
_MMDETECTION: dict[str, Any] = {
    "channel_order": "rgb",
    "mean": (123.675 / 255, 116.28 / 255, 103.53 / 255),
    "std": (58.395 / 255, 57.12 / 255, 57.375 / 255),
    "fill": (124, 116, 104),
    "decoder": Decoder(clamp_corners=True, reject_zero_size=True),
}
_CARD_CHANGES = {
    Origin.LITE_SQUEEZE: _SQUEEZE,
    Origin.LITE_SACCADE: _SACCADE,
    Origin.MMDETECTION: _MMDETECTION,
}  # the others: _OFFICIAL


def import_checkpoint(path: Path | str) -> tuple[CornerNet, ModelCard]:
    """Recognise a file of CornerNet, CornerNet-Lite or mmdetection weights and build our network from it.

    Returns the network in eval mode, float32 on the CPU, and the card with that project's pre-processing and decoder.
    Raises ModelError if the file is damaged, asks for code to be run, or holds another network; the message names
    the first entries that are missing, unexpected or misshapen.
    """
    path = as_path("path", path)
    file = read_weight_file(path)
    origin = recognise(file.tensors, file=str(path))
    file_names = {our_name(name, origin): name for name in file.tensors}
    heatmap = file.tensors.get(file_names.get(_CLASSES_FROM, ""))
    if heatmap is None or heatmap.ndim != 4:
        raise ModelError(f"{path}: {origin.value} without a heatmap head; cannot tell the number of classes.")
    config = preset(_PRESETS.get(origin, "hourglass-104"), heatmap.shape[0])
    with torch.device("meta"):
        network = CornerNet(config)
    state = _fitting_state(network, file.tensors, file_names, origin, path)
    network.load_state_dict(state, assign=True)
    return network.eval(), _card(network, origin, file.class_names, path)


def _fitting_state(
    network: CornerNet, tensors: Mapping[str, Tensor], file_names: Mapping[str, str], origin: Origin, path: Path
) -> dict[str, Tensor]:
    """The file's tensors by our names. PyTorch 0.4 wrote no batch counters; nothing reads them at inference."""
    own = network.state_dict()
    missing = [name for name in own if name not in file_names and not name.endswith(_COUNTER)]
    extra = [name for ours, name in file_names.items() if ours not in own]
    wrong = [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[ours].shape)}"
        for ours, name in file_names.items()
        if ours in own and not _fits(ours, tensors[name], own[ours])
    ]
    problems = (("missing (by our names)", missing), ("unexpected", extra), ("wrong shape", wrong))
    if missing or extra or wrong:
        found = "; ".join(f"{len(names)} {what}: {', '.join(names[:3])}" for what, names in problems if names)
        raise ModelError(
            f"{path}: looks like {origin.value}, but does not fit {network.config.name} with "
            f"{network.config.num_classes} classes: {found}. Only the published architecture can be imported."
        )
    return {
        name: _as(tensors[file_names[name]], like) if name in file_names else torch.zeros((), dtype=like.dtype)
        for name, like in own.items()
    }


def _fits(name: str, tensor: Tensor, like: Tensor) -> bool:
    """Same shape; a counter may also be a list of one number, as some programs write scalars."""
    return tensor.shape == like.shape or (name.endswith(_COUNTER) and tensor.numel() == 1)


def _as(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor.detach().to(like.dtype).reshape(like.shape).contiguous()


def _card(network: CornerNet, origin: Origin, class_names: tuple[str, ...], path: Path) -> ModelCard:
    config = network.config
    names, ids = _classes(config, class_names)
    changes = {"train_size": (_TRAIN_SIDE, _TRAIN_SIDE)} | _CARD_CHANGES.get(origin, _OFFICIAL)
    height, width = changes["train_size"]
    return ModelCard(
        name=config.name,
        class_names=names,
        category_ids=ids,
        stride=config.stride,
        size_multiple=config.size_multiple,
        parameters=count_parameters(network).inference,
        gmacs={f"{height}x{width}": round(count_macs(config, height, width) / 1e9, 3)},
        versions={"cornernet": version("cornernet"), "torch": torch.__version__},
        source=f"{origin.value}, imported from {path.name}",
        **changes,
    )


def _classes(config: NetworkConfig, class_names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and category ids: COCO's for 80 classes, the file's own if it has them, else class_0, class_1, ..."""
    count = config.num_classes
    if count == len(COCO_NAMES) and class_names in ((), COCO_NAMES):
        return COCO_NAMES, COCO_CATEGORY_IDS
    if len(class_names) != count:
        class_names = tuple(f"class_{index}" for index in range(count))
    return class_names, tuple(range(1, count + 1))
