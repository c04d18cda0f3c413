"""From the maps of a feature extractor to the one map that corners are read from (Table 4, "FPN + Corners")."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from cornernet.engine.errors import ModelError
from cornernet.trainer.network.blocks import conv


class FeaturePyramid(nn.Module):
    """Top-down pathway of an FPN (Lin et al. 2017), of which only the finest map is used: corners need its precision.

    extractor: images -> maps, finest first; it has `channels` and `reductions`, one entry per map. Maps finer than
    `stride` are left out. Raises ModelError if none has that stride.
    """

    def __init__(self, extractor: nn.Module, channels: int, stride: int) -> None:
        super().__init__()
        reductions, widths = tuple(extractor.reductions), tuple(extractor.channels)  # type: ignore[arg-type]
        if stride not in reductions:
            raise ModelError(
                f"the feature extractor gives maps of stride {reductions}; expected one of stride {stride}."
            )
        self.stride, self.channels = stride, channels
        self.extractor = extractor
        self.first = reductions.index(stride)
        self.laterals = nn.ModuleList(conv(1, width, channels, bias=True) for width in widths[self.first :])
        self.output = conv(3, channels, channels, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        maps: Sequence[Tensor] = self.extractor(images)[self.first :]
        coarse = self.laterals[-1](maps[-1])
        for lateral, finer in zip(reversed(self.laterals[:-1]), reversed(maps[:-1])):
            # By size, not by 2: extractors that round an odd side down stay usable.
            coarse = lateral(finer) + functional.interpolate(coarse, size=finer.shape[-2:], mode="nearest")
        return self.output(coarse)
