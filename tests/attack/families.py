"""What is attacked: each family makes a case from a random generator and a folder, and knows how to drive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """kind: what was done to the file. drive: see `Family`. most_seconds: instead of the common limit."""

    kind: str
    drive: Callable[[], str]
    most_seconds: float | None = None


Family = Callable[[Random, Path, int], Case]
"""Makes one case from a generator that knows its number, in a folder.

Its `drive` answers "used" or "refused", lets only exceptions of engine/errors.py out (they count as refused), and
raises AssertionError where a promise was broken."""

_MODULES = {
    "images": "image_cases",
    "deployed": "deployed_cases",
    "weights": "weight_cases",
    "annotations": "annotation_cases",
    "layouts": "layout_cases",
    "faults": "planted_faults",
}


def find_family(name: str) -> Family:
    """The family of that name; its module is loaded in the process that needs it."""
    make: Family = import_module(f"attack.{_MODULES[name]}").make
    return make


SHARES = {"images": 0.55, "deployed": 0.15, "weights": 0.15, "annotations": 0.1, "layouts": 0.05}
"""Family -> its share of all cases."""


def case_of(seed: int, family: str, number: int, folder: Path) -> Case:
    """The same case for the same seed, family and number, on any machine."""
    return find_family(family)(Random(f"{seed}/{family}/{number}"), folder, number)
