"""Hundreds of lines about one mistake, as one line with examples."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

FEW = 4
"""Up to so many lines of one kind are shown as they are."""

_VALUES = re.compile(r"\[.*?\]|\d+(?:\.\d+)?|'[^']*'|\([^)]*\)|\S*[/\\]\S+")

_HINTS = (
    (r"bbox .* (reaches|lies) outside the image", "; are they x1 y1 x2 y2? COCO wants x y width height"),
    (r"box .* (reaches|lies) outside the image", "; were the pictures resized after they were annotated?"),
    (r"bbox .* has no area", "; are they in fractions of the image, or empty objects?"),
)
"""What a line says, and what it may mean where it is said often: COCO's `bbox`, or the `box` of another layout."""


def grouped(lines: Sequence[str]) -> list[str]:
    """Lines that differ in numbers and names only become one: how many, what it may mean, and three of them."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        kinds[_VALUES.sub("#", line)].append(line)
    shown: list[str] = []
    for members in kinds.values():
        if len(members) <= FEW:
            shown += members
            continue
        what = members[0].partition(": ")[2]
        hint = next((hint for said, hint in _HINTS if re.search(said, what)), "")
        end = "" if hint.endswith("?") else "."
        shown.append(f"{len(members)} times the same{hint}{end} Such as {'; '.join(members[:3])}")
    return shown
