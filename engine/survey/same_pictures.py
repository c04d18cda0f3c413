"""Pictures that are in a data set more than once, by what is in their files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cornernet.engine.scoring.coco import CocoDataset

_END_BYTES = 2**12
_BLOCK = 2**20


class Place(NamedTuple):
    """Where a picture is."""

    split: str
    path: Path


class _File(NamedTuple):
    """A file, under however many names."""

    path: Path
    size: int


def same_pictures(splits: Mapping[str, CocoDataset]) -> list[list[Place]]:
    """Groups of two and more whose files hold the same bytes, in order of the samples.

    A file is read only if another one has as many bytes, and in full only if their ends are the same too.
    """
    places: dict[_File, list[Place]] = defaultdict(list)
    files: dict[tuple[int, int], _File] = {}
    for split, data in splits.items():
        for sample in data.samples:
            try:
                found = sample.path.stat()
            except OSError:
                continue  # reported elsewhere
            file = files.setdefault((found.st_dev, found.st_ino), _File(sample.path, found.st_size))
            places[file].append(Place(split, sample.path))
    groups: list[list[_File]] = [list(files.values())]
    keys: tuple[Callable[[_File], Hashable], ...] = (lambda file: file.size, _ends, _digest)
    for key in keys:
        groups = [part for group in groups for part in _divided(group, key)]
    twins = {file: group for group in groups for file in group}
    result: list[list[Place]] = []
    done: set[_File] = set()
    for file in files.values():
        if file in done:
            continue
        group = twins.get(file, [file])
        done.update(group)
        together = [place for member in group for place in places[member]]
        if len(together) > 1:
            result.append(together)
    return result


def _divided(group: Iterable[_File], key: Callable[[_File], Hashable]) -> list[list[_File]]:
    """The parts of a group that agree in `key`; what agrees with nothing is left out."""
    parts: dict[Hashable, list[_File]] = defaultdict(list)
    for file in group:
        try:
            parts[key(file)].append(file)
        except OSError:
            continue
    return [part for part in parts.values() if len(part) > 1]


def _ends(file: _File) -> bytes:
    with file.path.open("rb") as opened:
        start = opened.read(_END_BYTES)
        opened.seek(max(0, file.size - _END_BYTES))
        return start + opened.read(_END_BYTES)


def _digest(file: _File) -> bytes:
    digest = hashlib.sha256()
    with file.path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.digest()
