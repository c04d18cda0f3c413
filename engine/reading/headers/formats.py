"""The formats that can be read: which one a file is in, its header, and what of it the decoder may see."""

from __future__ import annotations

import struct

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers import bmp, gif, jpeg, png, pnm, tiff, webp
from cornernet.engine.reading.headers.header import Header


def read_header(data: bytes) -> Header | None:
    """The size and the cost of the picture in `data`, or None if no known format or a broken header."""
    try:
        for matches, parse in (
            (data.startswith(jpeg.SIGNATURE), jpeg.read),
            (data.startswith(png.SIGNATURE), png.read),
            (data.startswith(bmp.SIGNATURE), bmp.read),
            (webp.matches(data), webp.read),
            (data.startswith(tiff.SIGNATURES), tiff.read),
            (data.startswith(gif.SIGNATURES), gif.read),
            (pnm.matches(data), pnm.read),
        ):
            if matches:
                return parse(data)
    except (struct.error, IndexError):
        return None
    return None


def checked_content(data: bytes, origin: str) -> bytes:
    """What may be handed to the decoder, for a file whose header was read. Raises ImageError if the file ends early."""
    if data.startswith(png.SIGNATURE):
        return png.picture_only(data, origin)
    for matches, check in (
        (data.startswith(jpeg.SIGNATURE), jpeg.check_complete),
        (data.startswith(bmp.SIGNATURE), bmp.check_complete),
        (webp.matches(data), webp.check_complete),
        (pnm.matches(data), pnm.check_complete),
    ):
        if matches:
            try:
                check(data, origin)
            except (struct.error, IndexError) as error:
                raise ImageError(f"{origin}: truncated in its header") from error
    return data
