"""Broken promises of every kind, one a number: that the attack sees each of them is what test_attack.py shows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

from attack.families import Case
from cornernet.engine.errors import ModelError

FAULTS = {
    0: None,
    1: "raw exception",
    2: "broken promise",
    3: "crash",
    4: "too much memory",
    5: "too slow",
    6: "useless message",
    7: "hang",
}
"""Number -> what must be found; 0 is a refusal as it should be."""


def make(chance: Random, folder: Path, number: int) -> Case:
    return Case("planted", lambda: _commit(number))


def _commit(number: int) -> str:
    if number == 0:
        raise ModelError("refused, as it should be")
    if number == 1:
        raise KeyError("raw")
    if number == 2:
        raise AssertionError("a good mate changed")
    if number == 3:
        os.abort()
    if number == 4:
        assert sum(bytearray(700 * 2**20)[:: 2**20]) == 0
    if number == 5:
        start = time.process_time()
        while time.process_time() - start < 2.2:
            pass
    if number == 6:
        raise ModelError("")
    if number == 7:
        time.sleep(600)
    return "used"
