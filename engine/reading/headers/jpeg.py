"""JPEG: segments up to the first scan, then scans until the end of the image."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import Header

SIGNATURE = b"\xff\xd8\xff"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_START_OF_SCAN, _END = 0xDA, 0xD9
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""Inside a scan 0xFF is followed by 0 or a restart marker; anything else ends the scan."""


def read(data: bytes) -> Header | None:
    """The header; None if there is no frame before the first scan."""
    frame: tuple[int, int, int, int] | None = None
    samples, scans, buffered = 0, 0, False
    for marker, place in _segments(data):
        if marker in _START_OF_FRAME and frame is None:
            height, width, count = struct.unpack_from(">HHB", data, place + 3)
            frame, samples = (marker, height, width, count), _samples(data, place + 8, height, width, count)
        elif marker == _START_OF_SCAN:
            if frame is None:
                return None
            scans += 1
            # Several scans: the decoder keeps the coefficients of the whole picture, and passes over it once a scan.
            buffered = buffered or frame[0] in _PROGRESSIVE or data[place + 2] < frame[3]
            if not buffered:
                break
    if frame is None:
        return None
    marker, height, width, _ = frame
    work = max(samples, samples * scans // 4)
    if marker >= 0xC8:  # arithmetic coding: no end of the data stops it, and each bit takes a division
        work = 2 * samples * max(1, scans)
    return Header(height, width, held=2 * samples if buffered else 0, work=work)


def check_complete(data: bytes, origin: str) -> None:
    """Raise ImageError if the file ends early: decoders fill the missing part with grey and say nothing."""
    scan = next((place for marker, place in _segments(data) if marker == _START_OF_SCAN), None)
    if scan is None or data.find(b"\xff\xd9", scan) < 0:
        raise ImageError(f"{origin}: truncated JPEG: {len(data)} bytes without the end-of-image marker")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, position of its length) of each segment up to the end of the image, read as libjpeg reads them."""
    place, after = 2, _MARKER
    while (found := after.search(data, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == _END:
            return
        if marker in _ALONE:
            continue
        if place + 2 > len(data):
            return
        yield marker, place
        place += struct.unpack_from(">H", data, place)[0]
        after = _AFTER_SCAN if marker == _START_OF_SCAN else _MARKER


def _samples(data: bytes, place: int, height: int, width: int, components: int) -> int:
    """Samples of all components, each with its own sampling."""
    sampling = [(data[at + 1] >> 4, data[at + 1] & 15) for at in range(place, place + 3 * components, 3)]
    across = max((horizontal for horizontal, _ in sampling), default=0) or 1
    down = max((vertical for _, vertical in sampling), default=0) or 1
    return sum(-(-height * v // down) * -(-width * h // across) for h, v in sampling)
