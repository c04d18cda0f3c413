"""Which project wrote a file, and what its parameters are called here.

CornerNet-Lite and mmdetection re-implemented the same network: their names are first brought to those of the
original code, then all of them to ours. Each rule is a regular expression and its replacement, applied in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from cornernet.engine.errors import ModelError

Rules = tuple[tuple[str, str], ...]


class Origin(Enum):
    """The projects whose weights can be imported; the value is how messages and cards name them."""

    CORNERNET = "CornerNet (princeton-vl)"
    LITE_CORNERNET = "CornerNet of CornerNet-Lite"
    LITE_SQUEEZE = "CornerNet-Squeeze of CornerNet-Lite"
    LITE_SACCADE = "CornerNet-Saccade of CornerNet-Lite"
    MMDETECTION = "CornerNet of mmdetection"


_LITE: Rules = (
    (r"^hg\.hgs\.", "kps."),
    (r"^hg\.", ""),
    (r"^(tl|br)_modules\.", r"\1_cnvs."),
    (r"^(tl|br)_offs\.", r"\1_regrs."),
)

_MMDETECTION: Rules = (
    (r"^backbone\.stem\.0\.", "pre.0."),
    (r"^backbone\.stem\.1\.0\.", "pre.1."),
    (r"^backbone\.hourglass_modules\.", "kps."),
    (r"^backbone\.out_convs\.", "cnvs."),
    (r"^backbone\.inters\.", "inters."),
    (r"^backbone\.conv1x1s\.(\d+)\.conv\.", r"inters_.\1.0."),
    (r"^backbone\.conv1x1s\.(\d+)\.bn\.", r"inters_.\1.1."),
    (r"^backbone\.remap_convs\.(\d+)\.conv\.", r"cnvs_.\1.0."),
    (r"^backbone\.remap_convs\.(\d+)\.bn\.", r"cnvs_.\1.1."),
    (r"\.downsample\.", ".skip."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.direction(1|2)_conv\.", r"\1_cnvs.\2.p\3_conv1."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.aftpool_conv\.conv\.", r"\1_cnvs.\2.p_conv1."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.aftpool_conv\.bn\.", r"\1_cnvs.\2.p_bn1."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.conv1\.conv\.", r"\1_cnvs.\2.conv1."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.conv1\.bn\.", r"\1_cnvs.\2.bn1."),
    (r"^bbox_head\.(tl|br)_pool\.(\d+)\.conv2\.", r"\1_cnvs.\2.conv2."),
    (r"^bbox_head\.(tl|br)_(heat|emb|off)\.(\d+)\.1\.conv\.", r"bbox_head.\1_\2.\3.1."),
    (r"^bbox_head\.(tl|br)_heat\.", r"\1_heats."),
    (r"^bbox_head\.(tl|br)_emb\.", r"\1_tags."),
    (r"^bbox_head\.(tl|br)_off\.", r"\1_regrs."),
)

_CORNERNET: Rules = (
    (r"^pre\.", "backbone.stem."),
    (r"^kps\.", "backbone.hourglasses."),
    (r"^cnvs\.", "backbone.features."),
    (r"^inters\.", "backbone.merged."),
    (r"^inters_\.", "backbone.from_input."),
    (r"^cnvs_\.", "backbone.from_feature."),
    (r"\.up1\.", ".keep."),
    (r"\.low1\.", ".down."),
    (r"\.low3\.", ".up."),
    (r"\.up2\.", ".upsample."),
    (r"\.low2\b", ".inner"),
    (r"\.skip\.", ".shortcut."),
    (r"^(tl|br)_cnvs\.(\d+)\.", r"corners.\2.\1."),
    (r"^(corners\..*)\.p1_conv1\.", r"\1.vertical."),
    (r"^(corners\..*)\.p2_conv1\.", r"\1.horizontal."),
    (r"^(corners\..*)\.p_conv1\.", r"\1.pooled.0."),
    (r"^(corners\..*)\.p_bn1\.", r"\1.pooled.1."),
    (r"^(corners\..*)\.conv1\.", r"\1.shortcut.0."),
    (r"^(corners\..*)\.bn1\.", r"\1.shortcut.1."),
    (r"^(corners\..*)\.conv2\.", r"\1.output."),
    (r"^(tl|br)_heats\.(\d+)\.", r"heads.\2.\1.heatmap."),
    (r"^(tl|br)_tags\.(\d+)\.", r"heads.\2.\1.embedding."),
    (r"^(tl|br)_regrs\.(\d+)\.", r"heads.\2.\1.offset."),
    (r"\.tl\.", ".top_left."),
    (r"\.br\.", ".bottom_right."),
)

# Squeeze's hourglasses are made of fire blocks; its other blocks are called like CornerNet's.
_FIRE: Rules = (
    (r"^(backbone\.hourglasses\..*)\.conv1\.", r"\1.squeeze."),
    (r"^(backbone\.hourglasses\..*)\.bn1\.", r"\1.squeeze_bn."),
    (r"^(backbone\.hourglasses\..*)\.conv_(1x1|3x3)\.", r"\1.expand_\2."),
    (r"^(backbone\.hourglasses\..*)\.bn2\.", r"\1.bn."),
)

_ATTENTION: Rules = (
    (r"^att_modules\.(\d+)\.0\.", r"attention.\1.large."),
    (r"^att_modules\.(\d+)\.1\.", r"attention.\1.medium."),
    (r"^att_modules\.(\d+)\.2\.", r"attention.\1.small."),
)

_RULES: dict[Origin, Rules] = {
    Origin.CORNERNET: _CORNERNET,
    Origin.LITE_CORNERNET: _LITE + _CORNERNET,
    Origin.LITE_SQUEEZE: _LITE + _CORNERNET + _FIRE,
    Origin.LITE_SACCADE: _LITE + _CORNERNET + _ATTENTION,
    Origin.MMDETECTION: _MMDETECTION + _CORNERNET,
}


def recognise(names: Iterable[str], *, file: str) -> Origin:
    """Which project wrote parameters of these names (without "module."). Raises ModelError for any other network."""
    names = list(names)
    if _some(names, r"^backbone\.hourglasses\."):
        raise ModelError(f"{file}: already in this project's format; use it as it is, no import needed.")
    if _some(names, r"^att_modules\."):
        return Origin.LITE_SACCADE
    if _some(names, r"^hg\.hgs\."):
        return Origin.LITE_SQUEEZE if _some(names, r"\.conv_3x3\.") else Origin.LITE_CORNERNET
    if _some(names, r"^backbone\.hourglass_modules\."):
        return Origin.MMDETECTION
    if _some(names, r"^kps\."):
        return Origin.CORNERNET
    raise ModelError(
        f"{file}: not a CornerNet that can be imported; its {len(names)} entries begin with {', '.join(names[:3])}. "
        f"Expected weights of one of: {'; '.join(origin.value for origin in Origin)}."
    )


def our_name(name: str, origin: Origin) -> str:
    """The parameter's name in `CornerNet.state_dict()`; an unknown name stays unknown, which the caller reports."""
    for pattern, replacement in _RULES[origin]:
        name = re.sub(pattern, replacement, name)
    return name


def _some(names: Iterable[str], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in names)
