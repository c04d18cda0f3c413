"""Damage that needs no knowledge of a format, and the numbers that programs overlook."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

Item = TypeVar("Item")

EXTREMES = (0, 1, 2, 3, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)


def mutate(chance: Random, data: bytes) -> bytes:
    """`data` after one to four damages."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = chance.choice(_DAMAGES)(chance, data)
    return data


def _flip_bytes(chance: Random, data: bytes) -> bytes:
    content = bytearray(data)
    # Half of them in the first 100 bytes, where headers are.
    end = len(content) if chance.random() < 0.5 else min(len(content), 100)
    for _ in range(chance.choice((1, 2, 8, 64))):
        if content:
            content[chance.randrange(end)] = chance.randrange(256)
    return bytes(content)


def _set_number(chance: Random, data: bytes) -> bytes:
    code = chance.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(code)
    if len(data) < size:
        return data
    end = len(data) if chance.random() < 0.4 else min(len(data), 120)
    place = chance.randrange(end - size + 1) if end > size else 0
    return data[:place] + struct.pack(code, extreme(chance) % 256**size) + data[place + size :]


def _cut(chance: Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _remove(chance: Random, data: bytes) -> bytes:
    start, length = _slice(chance, data)
    return data[:start] + data[start + length :]


def _repeat(chance: Random, data: bytes) -> bytes:
    start, length = _slice(chance, data)
    times = chance.choice((1, 2, 10))
    return data[:start] + data[start : start + length] * times + data[start:]


def _blank(chance: Random, data: bytes) -> bytes:
    start, length = _slice(chance, data)
    return data[:start] + chance.choice((b"\0", b"\xff", b" ")) * length + data[start + length :]


def _noise(chance: Random, data: bytes) -> bytes:
    start, length = _slice(chance, data)
    return data[:start] + chance.randbytes(length) + data[start + length :]


def _append(chance: Random, data: bytes) -> bytes:
    return data + chance.randbytes(chance.choice((1, 100, 10_000)))


def _move(chance: Random, data: bytes) -> bytes:
    start, length = _slice(chance, data)
    taken, rest = data[start : start + length], data[:start] + data[start + length :]
    place = chance.randrange(len(rest) + 1)
    return rest[:place] + taken + rest[place:]


def _slice(chance: Random, data: bytes) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data) - start, chance.choice((1, 4, 16, 200, 5000)))


_DAMAGES: Sequence[Callable[[Random, bytes], bytes]] = (
    _flip_bytes,
    _flip_bytes,
    _set_number,
    _set_number,
    _cut,
    _remove,
    _repeat,
    _blank,
    _noise,
    _append,
    _move,
)


def extreme(chance: Random) -> int:
    """A whole number from 0 to 2**32 - 1, mostly one at which something overflows."""
    return chance.choice(EXTREMES) if chance.random() < 0.8 else chance.randrange(2**32)


ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "3",
    "x" * 300,
    "../../../../etc/passwd",
    "a\0b",
    "\udce9",
    "[bold]x[/y]",
    "{0.__class__}",
    "%s%n",
    [],
    [[]],
    {},
    {"a": {}},
    [1, 2, 3, 4],
    [float("nan")] * 4,
)
"""What a JSON file may hold where something else is expected. All can be written by `json.dumps`."""


def odd_value(chance: Random) -> Any:
    return _copy(chance.choice(ODD_VALUES))


def mutate_json(chance: Random, content: Any) -> Any:
    """A copy of `content`, parsed JSON, with one to four values exchanged, removed, added or repeated."""
    holder = [_copy(content)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        parent: Any = holder
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = chance.choice(keys)
            child = parent[key]
            if isinstance(child, dict | list) and child and chance.random() < 0.85:
                parent = child
                continue
            _change(chance, parent, key)
            break
    return holder[0] if holder else odd_value(chance)


def _change(chance: Random, parent: Any, key: Any) -> None:
    act = chance.randrange(6)
    if act == 0:
        del parent[key]
    elif act == 1 and isinstance(parent, list):
        parent.insert(key, _copy(parent[key]))
    elif act == 1:
        parent[chance.choice(("id", "extra", "", "\udce9"))] = odd_value(chance)
    else:
        parent[key] = odd_value(chance)


def _copy(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content
