"""Pictures as files that say who made them, so that a later run may replace them and leaves all others alone."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cornernet.engine.errors import OutputError
from cornernet.engine.printable import printable
from cornernet.engine.whole_file import write_whole

MARK = "Made by cornernet"
"""In a comment at the head of each picture."""


def write_picture(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 BGR as PNG or, if the name ends in .jpg, as JPEG, with `MARK` in it.

    Raises OutputError if the picture cannot be encoded (JPEG ends at 65,535 px a side), OSError if not written.
    """
    path = Path(path)
    data = encode_picture(image, path, [cv2.IMWRITE_JPEG_QUALITY, 92] if _is_jpeg(path) else [])
    marked = _mark_jpeg(data) if _is_jpeg(path) else _mark_png(data)
    write_whole(path, lambda partial: partial.write_bytes(marked))  # half a picture would have no mark


def encode_picture(image: np.ndarray, path: Path, options: Sequence[int] = ()) -> bytes:
    """(H, W, 3) uint8 BGR -> the bytes of a PNG, or of a JPEG if `path` ends in .jpg. Raises OutputError.

    For `path.write_bytes`: cv2.imwrite takes no name beyond ASCII on Windows and reports a full disk as success.
    """
    refused = f"{printable(path)}: a picture of shape {image.shape} cannot be encoded"
    try:
        done, data = cv2.imencode(".jpg" if _is_jpeg(path) else ".png", image, options)
    except cv2.error as error:
        raise OutputError(f"{refused}: {error.err}") from error
    if not done:
        raise OutputError(refused)
    return data.tobytes()


def is_marked(path: str | os.PathLike[str]) -> bool:
    """Did `write_picture`, or a chart of ours, make this file? Raises OSError."""
    with Path(path).open("rb") as file:
        return MARK.encode() in file.read(4096)


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _mark_jpeg(data: bytes) -> bytes:
    """A comment segment (FF FE, length, text) right after the two bytes that start an image."""
    comment = MARK.encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]


def _mark_png(data: bytes) -> bytes:
    """A tEXt chunk (length, type, keyword NUL text, CRC) after the signature (8 bytes) and IHDR (25)."""
    content = b"tEXt" + b"Software\0" + MARK.encode()
    chunk = (len(content) - 4).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)
    return data[:33] + chunk + data[33:]
