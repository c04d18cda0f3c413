"""A folder of pictures -> canvases, through the same reading and placing as detection: what the network will see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cornernet.engine.errors import ExportError, ImageError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.printable import printable
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.images import SUFFIXES, read_image
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.reading.views import ViewPlan, canvas_to_fit, mirrors

MOST_PICTURES = 128
"""More take longer and widen the ranges by next to nothing; they are drawn evenly from the folder."""


def find_pictures(folder: Path, most: int = MOST_PICTURES) -> list[Path]:
    """At most `most` pictures of a folder and the folders in it, evenly spread over their sorted names.

    Raises ExportError if there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise ExportError(f"{printable(folder)}: no such folder; expected one with pictures to calibrate on")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ExportError(
            f"{printable(folder)}: no picture in it to calibrate on; looked for {', '.join(sorted(SUFFIXES))}. "
            "Give a folder with about a hundred pictures like those the model will see."
        )
    return [found[place * len(found) // most] for place in range(most)] if len(found) > most else found


def calibration_canvases(pictures: Sequence[Path], card: ModelCard) -> tuple[list[Path], list[np.ndarray]]:
    """The pictures that can be read and fit the model, and their canvases, (1, H, W, 3) uint8 each, as the card's rule
    places them. Raises ExportError, with the first reason, if no picture can be used."""
    rule = canvas_to_fit(card, DEFAULT, None, None)
    plan = ViewPlan(card, DEFAULT, rule, scales=(1.0,), mirror=mirrors(card, DEFAULT))
    used, canvases, reasons = [], [], []
    for path in pictures:
        try:
            image = read_image(path)
            canvases += [
                place_on_canvas(image, place, card, DEFAULT)[None] for place in plan.placements(image.shape[:2])
            ]
            used.append(path)
        except ImageError as error:
            reasons.append(str(error))
    if not used:
        raise ExportError(f"none of {len(pictures)} pictures can be used to calibrate on: {reasons[0]}")
    return used, canvases
