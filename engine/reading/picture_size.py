"""The size of a picture file, from its head."""

from __future__ import annotations

import contextlib
import os
import re

from cornernet.engine.arguments import as_path, is_file
from cornernet.engine.geometry import Size
from cornernet.engine.reading.headers.formats import read_header
from cornernet.engine.reading.headers.jpeg import SIGNATURE
from cornernet.engine.reading.images import Rules, read_image, read_reduced

_HEAD = 2**16
_ON_ITS_SIDE = re.compile(
    rb"\x12\x01\x03\x00\x01\x00\x00\x00[\x05-\x08]\x00|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x05-\x08]"
)
"""EXIF's entry for an orientation of 5 to 8, in either byte order."""


def picture_size(path: str | os.PathLike[str]) -> Size:
    """(height, width) [px] as `read_image` gives it, EXIF applied. Decodes only what the head leaves open.

    Raises ImageError if there is no picture.
    """
    path = as_path("path", path)
    head = b""
    with contextlib.suppress(OSError):  # read_image meets it again, and says what it is
        if is_file(path):
            with path.open("rb") as file:
                head = file.read(_HEAD)
    header = read_header(head)
    if header is None or header.height < 1 or header.width < 1:
        height, width = read_image(path).shape[:2]
        return height, width
    jpeg = head.startswith(SIGNATURE)
    if (not jpeg or b"Exif\0" in head) and _ON_ITS_SIDE.search(head):
        smallest = 8 if jpeg else 1
        return read_reduced(path, Rules(), reduction=lambda size: smallest)[1]
    return header.height, header.width
