"""What other libraries and the standard one hand over as an image: PIL images, tensors, open files -> arrays and bytes.

None of these libraries is imported: an object is known by what it can do.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

import cv2
import numpy as np

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.header import check_size


class Readable(Protocol):
    """A binary file that is open."""

    def read(self, size: int, /) -> bytes: ...


class Tensor(Protocol):
    """An array of torch, jax, tensorflow, cupy."""

    def __dlpack__(self, *arguments: Any, **options: Any) -> Any: ...


class PilImage(Protocol):
    """PIL.Image.Image."""

    width: int
    height: int
    mode: str

    def convert(self, mode: str, /) -> Any: ...


Foreign = Readable | Tensor | PilImage

_ROOM = 2**26
"""Bytes beside 8 a pixel (uncompressed 16-bit RGBA) that a file may have: metadata."""


def is_one(source: Any) -> bool:
    """Is this a single image, or something that no image is in, rather than an iterable of images?

    Iterating over an open file gives lines, over a tensor (H, W, 3) rows, over a dict its keys: each of them would be
    taken for an image, silently.
    """
    return is_pil(source) or is_tensor(source) or is_file(source) or isinstance(source, dict)


def is_pil(source: Any) -> bool:
    pil = sys.modules.get("PIL.Image")  # whoever has a PIL image has imported it
    return pil is not None and isinstance(source, pil.Image)


def is_tensor(source: Any) -> bool:
    """An array of another library (torch, jax, tensorflow, cupy), not of paths (a pandas column has no DLPack)."""
    if isinstance(source, np.ndarray | np.generic):
        return False
    return hasattr(source, "__dlpack__") or hasattr(source, "__cuda_array_interface__")


def is_file(source: Any) -> bool:
    return hasattr(source, "read") and not isinstance(source, os.PathLike)


def largest_file(max_pixels: int) -> int:
    """[bytes] No picture of so many pixels needs more."""
    return 8 * max_pixels + _ROOM


def read_pil(image: Any, max_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 BGR, as a file of it would be read: EXIF applied, transparency dropped, 16 bits to 8."""
    check_size(image.height, image.width, "PIL image", max_pixels)
    from PIL import ImageOps

    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            return cv2.cvtColor((np.asarray(image) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        if image.mode in ("I", "F"):
            raise ImageError(
                f"PIL image of mode {image.mode!r}, whose values may be anything; scale them to 0..255 and convert: "
                'image.convert("RGB")'
            )
        return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except ImageError:
        raise
    except Exception as error:  # a lazy image reads its file only now
        raise ImageError(f"PIL image cannot be decoded: {error or type(error).__name__}") from error


def tensor_to_array(tensor: Any) -> np.ndarray:
    """The values of another library's array, on the host. Shape and type are checked as those of any array."""
    try:
        for move in ("detach", "cpu"):  # torch
            tensor = getattr(tensor, move)() if hasattr(tensor, move) else tensor
        if hasattr(tensor, "get") and hasattr(tensor, "__cuda_array_interface__"):  # cupy, pycuda
            tensor = tensor.get()
        return np.asarray(tensor)
    except Exception as error:
        raise ImageError(
            f"{type(tensor).__name__} cannot be copied to the host: {error or type(error).__name__}"
        ) from error


def read_file(file: Any, max_pixels: int) -> bytes:
    """What is left in an open binary file, bounded. The file stays open."""
    limit = largest_file(max_pixels)
    try:
        data = file.read(limit + 1)
    except Exception as error:  # closed, or a file-like object of any making
        raise ImageError(f"open file cannot be read: {error or type(error).__name__}") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImageError(f'the open file gives {type(data).__name__}, not bytes; open it with mode "rb"')
    if len(data) > limit:
        raise ImageError(f"open file of more than {limit} bytes; no picture of max_pixels={max_pixels} needs so many")
    return bytes(data)
