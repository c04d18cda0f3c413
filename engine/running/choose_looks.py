"""How a model looks at images, by its card: once at each view, or twice as a CornerNet-Saccade."""

from __future__ import annotations

import logging

from cornernet.engine.arguments import flag, integer, shown
from cornernet.engine.backends import Backend
from cornernet.engine.backends.contract import takes_float
from cornernet.engine.errors import ModelError
from cornernet.engine.geometry import Size
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.views import Looks, Resize, ViewPlan, canvas_to_fit, mirrors
from cornernet.engine.saccade.two_looks import MOST_CROPS, TwoLooks, saccade_protocol

log = logging.getLogger("cornernet.running")


def choose_looks(
    card: ModelCard,
    protocol: Protocol,
    resize: Resize | None,
    size: Size | None,
    scales: tuple[float, ...],
    mirror: bool | None,
    max_crops: int | None,
) -> Looks:
    """See `Detector` for the settings. Raises ModelError for one that a model of this kind does not have."""
    fit = canvas_to_fit(card, protocol, resize, size)
    if max_crops is not None:
        max_crops = integer("max_crops", max_crops, least=0, most=MOST_CROPS)
    if card.saccade is None:
        if max_crops is not None:
            raise ModelError(f"max_crops={max_crops}: this model makes no crops; it is no CornerNet-Saccade")
        return ViewPlan(card, protocol, fit=fit, scales=scales, mirror=mirrors(card, protocol, mirror))
    flag("mirror", mirror)
    for name, value, asked in (
        ("size", size, fit not in (None, card.train_size)),
        ("resize", resize, resize == "original"),
        ("scales", scales, scales != (1.0,)),
        ("mirror", mirror, bool(mirror)),
    ):
        if asked:
            raise ModelError(
                f"{name}={shown(value)}: a CornerNet-Saccade looks at views of {card.saccade.view_sizes} px and at "
                "crops, plain; leave it out, and choose between speed and accuracy with max_crops"
            )
    return TwoLooks(card, saccade_protocol(protocol), card.saccade.max_crops if max_crops is None else max_crops)


def say_if_rounded(looks: Looks, backend: Backend) -> None:
    """Warn where canvases are to keep grey levels that are not whole, and the backend takes uint8 alone."""
    if not looks.whole_levels and not takes_float(backend):
        log.warning(
            "%s takes uint8 canvases: under protocol %s they are rounded, by half a grey level at most, and some boxes "
            "differ from the official ones. For those: ONNX files on any runtime, weights in PyTorch, or an engine of "
            "`cornernet build --float-canvases`",
            backend.name,
            looks.protocol.name,
        )
