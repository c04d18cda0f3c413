"""The shapes of the networks: one small dataclass, and the presets built from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import Decoder, ModelCard, Saccade

_CHOICES = {
    "block": ("residual", "fire"),
    "upsample": ("nearest", "transposed"),
    "head_kernel": (1, 3),
    "map_stride": (4, 8),
}
# The largest a file may ask for: far above every published network, far below what overflows or fills a memory.
_LARGEST = {
    "num_classes": 65536,
    "dims": 8192,
    "modules": 16,
    "stem_channels": 8192,
    "stem_kernel": 63,
    "stacks": 8,
    "feature_channels": 8192,
    "pool_channels": 8192,
    "head_channels": 8192,
}
_MOST_LEVELS = 8
TIMM_PREFIX = "timm:"
# ResNets and timm's networks reduce the canvas 32 times before a pyramid comes back up to the heatmap's stride.
_PYRAMID_MULTIPLE = 32


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to build a CornerNet; JSON through `to_dict` and `from_dict`.

    dims, modules:   channels and blocks of each hourglass level, from the heatmap's level down (section 3.5).
    stem_channels:   a `stem_kernel` convolution, then residual blocks; each halves the canvas. stride = 2 ** len.
    attention:       three attention maps beside the heads (CornerNet-Saccade), of the hourglass' upper three levels.
    corner_pooling:  False trains the ablation of Table 1: the same convolutions, no pooling between them.
    backbone:        "hourglass"; or "fpn-resnet50" and its like (Table 4), "timm:<name>", a registered one (see
                     trainer/network/backbones.py): one stack, map of stride `map_stride`, the hourglass' fields unused.
    Raises ModelError if the values do not describe a network.
    """

    name: str
    num_classes: int
    dims: tuple[int, ...] = ()
    modules: tuple[int, ...] = ()
    stem_channels: tuple[int, ...] = ()
    stem_kernel: int = 7
    stacks: int = 2
    block: str = "residual"
    upsample: str = "nearest"
    feature_channels: int = 256
    pool_channels: int = 128
    head_channels: int = 256
    head_kernel: int = 3
    attention: bool = False
    corner_pooling: bool = True
    backbone: str = "hourglass"
    map_stride: int = 4

    def __post_init__(self) -> None:
        self._check_types()
        for field, allowed in _CHOICES.items():
            self._require(getattr(self, field) in allowed, field, f"one of {allowed}")
        for field, largest in _LARGEST.items():
            value = getattr(self, field)
            numbers = value if isinstance(value, tuple) else (value,)
            self._require(all(1 <= number <= largest for number in numbers), field, f"1 to {largest}")
        if self.backbone == "hourglass":
            self._check_hourglass()
        else:
            # timm's other spellings fetch from the network: a file must not be able to ask for that.
            plain = re.fullmatch(rf"({TIMM_PREFIX})?[\w.+ -]+", self.backbone)
            self._require(plain is not None, "backbone", "a plain name")
            self._require(self.stacks == 1, "stacks", f"1, because {self.backbone} gives one map")
            self._require(not self.attention, "attention", f"False, because {self.backbone} gives one map")

    def _check_types(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "tuple[int, ...]":
                right = isinstance(value, tuple) and all(type(item) is int for item in value)
            else:
                right = type(value).__name__ == field.type
            self._require(right, field.name, f"a {field.type}")

    def _check_hourglass(self) -> None:
        self._require(2 <= len(self.dims) <= _MOST_LEVELS, "dims", f"two to {_MOST_LEVELS} levels")
        self._require(len(self.modules) == len(self.dims), "modules", f"one entry per entry of dims {self.dims}")
        self._require(len(self.stem_channels) in (2, 3), "stem_channels", "2 entries (stride 4) or 3 (stride 8)")
        self._require(
            self.stem_channels[-1] == self.dims[0], "stem_channels", f"the last entry equal to dims[0], {self.dims[0]}"
        )
        self._require(self.stem_kernel % 2 == 1, "stem_kernel", "an odd number")
        self._require(not self.attention or len(self.dims) == 4, "dims", "four levels, three of them with attention")
        even = self.block == "residual" or all(channels % 2 == 0 for channels in self.dims)
        self._require(even, "dims", "even numbers, because a fire block halves them")

    def _require(self, condition: bool, field: str, expected: str) -> None:
        if not condition:
            raise ModelError(f"network '{self.name}': {field} is {getattr(self, field)!r}; expected {expected}.")

    @property
    def stride(self) -> int:
        """Canvas pixels per heatmap cell [px/cell]."""
        return 2 ** len(self.stem_channels) if self.backbone == "hourglass" else self.map_stride

    @property
    def size_multiple(self) -> int:
        """Canvas sides are legal if rounding up to the next multiple adds fewer than `stride` pixels [px]."""
        return self.stride * 2 ** (len(self.dims) - 1) if self.backbone == "hourglass" else _PYRAMID_MULTIPLE

    def is_legal_side(self, side_px: int) -> bool:
        """True if a canvas side [px] gives the same map sizes going down and up the network."""
        return side_px > 0 and -side_px % self.size_multiple < self.stride

    def contradiction(self, card: ModelCard) -> str:
        """What `card` says that is not so of this network; "" if it can be its card."""
        said = (len(card.class_names), card.stride, card.size_multiple)
        own = (self.num_classes, self.stride, self.size_multiple)
        if said != own:
            return f"the card says (classes, stride, size multiple) {said}, but the network has {own}"
        if (card.saccade is not None) != self.attention:
            has, lacks = ("network", "card") if self.attention else ("card", "network")
            return f"the {has} is that of a Saccade, with attention, the {lacks} is not"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; tuples become lists. `attention` is newer than the format: older versions, which refuse
        what they do not know, read a network without it too."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return values if self.attention else {key: values[key] for key in values if key != "attention"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Inverse of `to_dict`. Raises ModelError naming unknown or missing keys and wrong values."""
        if not isinstance(values, Mapping):
            raise ModelError(f"network config is a {type(values).__name__}; expected an object of names and values.")
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"name", "num_classes"} - set(values))
        if unknown or missing:
            raise ModelError(
                f"network config has unknown keys {unknown} and lacks {missing}; expected a subset of {sorted(known)}. "
                "Was it written by a newer version?"
            )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


def _hourglass_104(num_classes: int) -> NetworkConfig:
    """The paper's network (section 3.5)."""
    return NetworkConfig(
        name="hourglass-104",
        num_classes=num_classes,
        dims=(256, 256, 384, 384, 384, 512),
        modules=(2, 2, 2, 2, 2, 4),
        stem_channels=(128, 256),
    )


def _squeeze(num_classes: int) -> NetworkConfig:
    """CornerNet-Squeeze of CornerNet-Lite: fire blocks, stride 8, one level less."""
    return NetworkConfig(
        name="squeeze",
        num_classes=num_classes,
        dims=(256, 256, 384, 384, 512),
        modules=(2, 2, 2, 2, 4),
        stem_channels=(128, 256, 256),
        block="fire",
        upsample="transposed",
        head_kernel=1,
    )


def _tiny(num_classes: int) -> NetworkConfig:
    """About 1 M parameters, most of them where the map is small, so that a CPU trains it in minutes."""
    return NetworkConfig(
        name="tiny",
        num_classes=num_classes,
        dims=(32, 48, 64, 96),
        modules=(1, 1, 1, 2),
        stem_channels=(16, 32),
        stem_kernel=3,
        stacks=1,
        feature_channels=32,
        pool_channels=32,
        head_channels=32,
        head_kernel=1,
    )


def _saccade(num_classes: int) -> NetworkConfig:
    """CornerNet-Saccade of CornerNet-Lite, "Hourglass-54"."""
    return NetworkConfig(
        name="saccade",
        num_classes=num_classes,
        dims=(256, 384, 384, 512),
        modules=(1, 1, 1, 1),
        stem_channels=(128, 256),
        stacks=3,
        attention=True,
    )


def _saccade_tiny(num_classes: int) -> NetworkConfig:
    """Under half a million parameters: a CPU trains it on canvases of 127 x 127 in minutes."""
    return NetworkConfig(
        name="saccade-tiny",
        num_classes=num_classes,
        dims=(24, 32, 48, 64),
        modules=(1, 1, 1, 1),
        stem_channels=(16, 24),
        stem_kernel=3,
        stacks=1,
        feature_channels=24,
        pool_channels=24,
        head_channels=24,
        head_kernel=1,
        attention=True,
    )


def _pyramid(backbone: str) -> Callable[[int], NetworkConfig]:
    """Corners on one map of another backbone (Table 4, "FPN + Corners")."""
    return lambda num_classes: NetworkConfig(name=backbone, num_classes=num_classes, stacks=1, backbone=backbone)


def _fpn_tiny(num_classes: int) -> NetworkConfig:
    """`tiny` with a small ResNet's pyramid in the hourglass' place: as many parameters, the same heads."""
    return NetworkConfig(
        name="fpn-tiny",
        num_classes=num_classes,
        stacks=1,
        feature_channels=32,
        pool_channels=32,
        head_channels=32,
        head_kernel=1,
        backbone="fpn-resnet26-slim",
    )


PRESETS: dict[str, Callable[[int], NetworkConfig]] = {
    "hourglass-104": _hourglass_104,
    "squeeze": _squeeze,
    "tiny": _tiny,
    "saccade": _saccade,
    "saccade-tiny": _saccade_tiny,
    "fpn-tiny": _fpn_tiny,
    "fpn-resnet50": _pyramid("fpn-resnet50"),
    "fpn-resnet101": _pyramid("fpn-resnet101"),
}


def preset(name: str, num_classes: int, **changes: Any) -> NetworkConfig:
    """The preset of this name, or "timm:<name>", for `num_classes` classes, with single fields changed.

    Raises ModelError if there is no such preset or the changes do not fit it.
    """
    build = _pyramid(name) if name.startswith(TIMM_PREFIX) else PRESETS.get(name)
    if build is None:
        raise ModelError(f"there is no network preset '{name}'; choose one of {sorted(PRESETS)} or 'timm:<name>'.")
    return replace(build(num_classes), **changes)


PRESET_DECODERS = {
    "hourglass-104": Decoder(top_k=100, num_dets=1000),
    "squeeze": Decoder(top_k=20, num_dets=100),  # CornerNet-Lite's configuration
    "tiny": Decoder(top_k=60, num_dets=200),
    "fpn-tiny": Decoder(top_k=60, num_dets=200),
    # A crop shows few objects; what it cuts off has its corner in the border cells.
    "saccade": Decoder(top_k=12, num_dets=12, max_distance=0.3, reject_border=True),
    "saccade-tiny": Decoder(top_k=12, num_dets=12, max_distance=0.3, reject_border=True),
}

PRESET_SACCADES = {
    "saccade": Saccade(),  # CornerNet-Lite's configuration, for canvases of 255 x 255
    # The same on canvases of 127 x 127: every length half as long, a quarter of the cells.
    "saccade-tiny": Saccade(
        view_sizes=(96, 127), reference_bounds=(48, 16), reference_sizes=(96, 32, 12), locations=64
    ),
}
"""Of the presets with attention: how they look twice."""
