"""A Detector's settings as the rules of the soft-NMS kernel, or why the host has to post-process."""

from __future__ import annotations

import math

from cornernet.engine.backends import Backend
from cornernet.engine.backends.finishing import NmsRules, finishes
from cornernet.engine.errors import BackendError
from cornernet.engine.geometry import Placement
from cornernet.engine.protocol import Protocol
from cornernet.engine.reading.views import Looks, ViewPlan
from cornernet.engine.results.postprocess import Suppression, rewrites_in_place

MOST_ROWS = 3840
"""Boxes of an image that the kernel takes, and gives."""


def device_rules(asked: str, backend: Backend, plan: Looks, suppression: Suppression, *, stays: bool) -> NmsRules:
    """asked: the argument that wants it, for messages. stays: results stay on the device.

    Raises BackendError, with the setting that the device cannot do: whatever it does, it does as the host would.
    """
    reasons = {
        "a CornerNet-Saccade's crops are merged": not isinstance(plan, ViewPlan),
        "mirror=True and several scales are views to merge": isinstance(plan, ViewPlan)
        and (plan.mirror or len(plan.scales) > 1),
        f"merge_exponent={suppression.merge_exponent} averages boxes": suppression.merge_exponent is not None,
        f"the protocol {plan.protocol.name!r} rewrites boxes in the official order": rewrites_in_place(
            suppression, plan.protocol
        ),
        "classes= leaves out the others' boxes first": suppression.labels is not None,
        "score_threshold= differs from class to class, give one number": stays
        and isinstance(suppression.score_threshold, tuple),
    }
    why = [reason for reason, holds in reasons.items() if holds]
    if why:
        raise BackendError(f"{asked}: {'; '.join(why)}, which is done on the host only. Leave one or the other out.")
    if not finishes(backend):
        raise BackendError(
            f"{asked}: {backend.name} leaves post-processing to the host. Weights in torch do it on their device, and "
            "TensorRT engines where the library of plugins/ is built: cmake -B build && cmake --build build -j2"
        )
    return NmsRules(
        limit=min(suppression.max_per_image, MOST_ROWS),
        method=suppression.method,
        sigma=suppression.sigma,
        iou_threshold=suppression.iou_threshold,
        min_score=suppression.lowest_score,
        iou_pixel=plan.protocol.iou_pixel,
        drop_empty=plan.protocol.drop_empty,
    )


def placement_row(placement: Placement, protocol: Protocol) -> list[float]:
    """Where an image lies on its canvas and the way back, as the kernel takes it (9,), see corner_soft_nms.h.

    A scale is given as a quotient of two whole numbers, which float32 holds, wherever it is one.
    """
    (rows, columns), (height, width), (vertical, horizontal) = placement.resized, placement.image, placement.scale
    far = (columns, rows) if protocol.clip_far_side else (math.inf, math.inf)
    across = (columns, width) if columns / width == horizontal else (horizontal, 1)
    down = (rows, height) if rows / height == vertical else (vertical, 1)
    axis = placement.mirror_axis(protocol) if placement.mirrored else math.nan
    return [placement.left, placement.top, *far, *across, *down, axis]
