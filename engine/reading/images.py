"""Files, bytes, arrays and their kin -> (H, W, 3) uint8 BGR, refusing what would fail later, or exhaust memory now."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from cornernet.engine.arguments import choice, flag, integer, shown_path
from cornernet.engine.errors import ImageError
from cornernet.engine.geometry import Size
from cornernet.engine.printable import printable
from cornernet.engine.reading import foreign_images, urls
from cornernet.engine.reading.headers import jpeg
from cornernet.engine.reading.headers.formats import checked_content, read_header
from cornernet.engine.reading.headers.header import MAX_PIXELS, MOST_PIXELS, check_size
from cornernet.engine.reading.video import SUFFIXES as VIDEO_SUFFIXES
from cornernet.engine.reading.video import Frame, Video, is_video

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | np.ndarray | Frame | foreign_images.Foreign
"""A path, the content of an image file, an array (H, W, 3) uint8 BGR; or a PIL image, a tensor, a file that is open."""

ChannelOrder = Literal["bgr", "rgb"]


@dataclass(frozen=True)
class Rules:
    """What may be read, and how.

    max_pixels: larger pictures are refused. channel_order: of arrays and tensors; files, bytes and PIL images know
    theirs. allow_urls: fetch http and https addresses.
    """

    max_pixels: int = MAX_PIXELS
    channel_order: ChannelOrder = "bgr"
    allow_urls: bool = False

    def __post_init__(self) -> None:
        choice("channel_order", self.channel_order, ("bgr", "rgb"))
        flag("allow_urls", self.allow_urls)


_HOW_TO_DECODE = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

_NUMBER = re.compile(r"%(?:0(?P<digits>[1-9]))?d")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"})
"""Files that are pictures."""

_TAKEN = SUFFIXES | VIDEO_SUFFIXES
"""Files taken from a directory."""


def read_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, channel_order: ChannelOrder = "bgr", allow_urls: bool = False
) -> np.ndarray:
    """One image as (H, W, 3) uint8 BGR.

    Files and bytes are converted: grey becomes three equal channels, transparency is dropped, 16 bits become 8, and
    the EXIF orientation is applied (as cv2.imread does, which the official code used). Of an animation or a multi-page
    file the first picture is taken. Arrays and tensors must be (H, W, 3) uint8, in BGR order unless `channel_order`
    says "rgb". PIL images are read as their files would be; of an open file what is left in it is read. An address is
    fetched only with `allow_urls`, with bounds on size and time (urls.py).

    Memory and time are bounded by what a file really holds: one that claims far more than it can hold is refused
    before it is decoded, a blank scan of 20 million pixels never is. `Header.check` states the bounds.

    Raises:
        ImageError: missing, empty, truncated or unknown file; more than `max_pixels`, judged by the header before
            decoding; a decompression bomb; an array of another shape or type.
    """
    integer("max_pixels", max_pixels, least=1, most=MOST_PIXELS)
    return read_reduced(source, Rules(max_pixels, channel_order, allow_urls), reduction=lambda size: 1)[0]


def read_reduced(source: ImageSource, rules: Rules, *, reduction: Callable[[Size], int]) -> tuple[np.ndarray, Size]:
    """The same, and its size (height, width) [px]; a JPEG 1, 2, 4 or 8 times smaller, as `reduction` of its size says.

    Its decoder then leaves out the finest frequencies, which takes a fraction of the time.
    """
    max_pixels = rules.max_pixels
    if isinstance(source, Frame):
        if source.pixels is None:
            raise ImageError(source.error or "no picture")
        image = _check_array(source.pixels, max_pixels)
        return image, (image.shape[0], image.shape[1])
    if foreign_images.is_pil(source):
        image = foreign_images.read_pil(source, max_pixels)
        return image, (image.shape[0], image.shape[1])
    if foreign_images.is_tensor(source):
        source = foreign_images.tensor_to_array(source)
    if isinstance(source, np.ndarray):
        image = _check_array(source, max_pixels)
        if rules.channel_order == "rgb":
            image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return image, (image.shape[0], image.shape[1])
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), "image bytes", max_pixels, reduction)
    if rules.allow_urls and urls.is_url(source):
        return _decode(urls.fetch(source), shown_path(source), max_pixels, reduction)
    if isinstance(source, str | os.PathLike):
        return _decode(_read_file(source, max_pixels), shown_path(source), max_pixels, reduction)
    if foreign_images.is_file(source):
        return _decode(foreign_images.read_file(source, max_pixels), "open file", max_pixels, reduction)
    raise ImageError(
        f"an image of type {type(source).__name__} cannot be used; expected a path, bytes, an open file, a PIL image, "
        "or an array or tensor (H, W, 3) uint8"
    )


def decode_image(data: bytes, origin: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The content of an image file -> (H, W, 3) uint8 BGR. Raises ImageError naming `origin`; see `read_image`."""
    return _decode(data, origin, max_pixels, lambda size: 1)[0]


def _decode(data: bytes, origin: str, max_pixels: int, reduction: Callable[[Size], int]) -> tuple[np.ndarray, Size]:
    if not data:
        raise ImageError(f"{origin}: empty, zero bytes")
    header = read_header(data)
    if header is None:
        raise ImageError(
            f"{origin}: not an image that can be read; "
            "expected JPEG, PNG, BMP, WebP, TIFF, GIF or PNM with an intact header"
        )
    header.check(len(data), origin, max_pixels)
    content = np.frombuffer(checked_content(data, origin), np.uint8)
    size = (header.height, header.width)
    factor = reduction(size) if data.startswith(jpeg.SIGNATURE) else 1
    try:
        image = cv2.imdecode(content, _HOW_TO_DECODE[factor])
    except cv2.error as error:
        raise ImageError(f"{origin}: cannot be decoded: {error.err or error}") from error
    if image is None:
        raise ImageError(f"{origin}: cannot be decoded; it is truncated, corrupted, or of a kind OpenCV cannot read")
    expected = (-(-size[0] // factor), -(-size[1] // factor))
    if image.shape[:2] == expected:
        return image, size
    if image.shape[:2] == expected[::-1]:  # turned by EXIF
        return image, size[::-1]
    found = f"{image.shape[1]}x{image.shape[0]}"
    raise ImageError(f"{origin}: cannot be decoded; {size[1]}x{size[0]} in the header, {found} in the data")


def expand_sources(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Directories and globs -> their files in sorted order, videos -> their frames, everything else as it is. Lazy.

    Of a directory the pictures and the videos are taken; one without either and a glob without a match pass through
    too, and fail in `read_image`.
    An array or tensor (N, H, W, 3) counts as N images, an array of paths as its paths.
    """
    given: Any = images
    if isinstance(images, np.ndarray) or foreign_images.is_tensor(images):
        axes = getattr(given, "ndim", None)
        several = axes == 4 or (axes == 1 and getattr(given.dtype, "kind", "") in "OSU")
        given = given if several else [given]
    elif is_one_image(images):
        given = [given]
    for source in given:
        for found in find_files(source) or [source]:
            if isinstance(found, Video) or is_video(found):
                yield from found if isinstance(found, Video) else Video(found)
            else:
                yield found


def is_one_image(images: ImageSource | Iterable[ImageSource]) -> bool:
    """One image, not many. What cannot be iterated over counts as one, which then fails."""
    single = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or not isinstance(images, Iterable)
    return single or foreign_images.is_one(images)


def find_files(source: ImageSource, *, recursive: bool = False) -> Sequence[ImageSource]:
    """The files of a directory, a glob or a numbered sequence (shot_%04d.png); nothing if `source` is none of them.

    Of a directory its pictures and videos. recursive: those of the folders in a directory too.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source) or urls.is_url(source):
        return []
    name = os.fsdecode(source)
    path = Path(name)
    try:
        if path.is_dir():
            files = path.rglob("*") if recursive else path.iterdir()
            return sorted(file for file in files if file.suffix.lower() in _TAKEN and not file.is_dir())
        if (number := _NUMBER.search(path.name)) and not path.exists():
            before, after = map(re.escape, (path.name[: number.start()], path.name[number.end() :]))
            name_of = re.compile(f"{before}(\\d{{{number['digits'] or 1},}}){after}")
            numbered = ((name_of.fullmatch(file.name), file) for file in path.parent.iterdir())
            return [file for _, file in sorted((int(match[1]), file) for match, file in numbered if match)]
        if glob.has_magic(name) and not path.exists():
            names = glob.iglob(name, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute patterns)
            return sorted(path for path in map(Path, names) if path.is_file())
    except (OSError, ValueError):
        return []  # read_image meets the same error and puts it into the image's own result
    return []


def _read_file(source: str | os.PathLike[str], max_pixels: int) -> bytes:
    name = shown_path(source)
    if not name:
        raise ImageError("an empty path; expected a file, a directory or a glob ('.' is the current directory)")
    urls.check_path(os.fsdecode(source))
    path = Path(os.fsdecode(source))
    try:
        if path.is_dir():
            folders = any(one.is_dir() for one in path.iterdir())  # an error if the directory may not be read
            deeper = f". There are folders in it: --recursive, in Python the glob {name}/**/*.jpg" if folders else ""
            looked_for = ", ".join(sorted(_TAKEN))
            raise ImageError(f"{name}: no images or videos in this directory; looked for {looked_for}{deeper}")
        if glob.has_magic(str(path)) and not path.exists():
            raise ImageError(f"{name}: no file matches")
        if path.exists() and not path.is_file():
            raise ImageError(f"{name}: not a regular file")
        limit, size = foreign_images.largest_file(max_pixels), path.stat().st_size
        if size > limit:
            raise ImageError(f"{name}: {size} bytes, more than any picture of max_pixels={max_pixels} needs ({limit})")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"{name}: cannot be read: {error.strerror or type(error).__name__}") from error
    except ValueError as error:  # a zero byte or a lone surrogate in the name
        raise ImageError(f"{name}: cannot be read: {printable(str(error))}") from error


def _check_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8 and array.size:
        check_size(array.shape[0], array.shape[1], "array", max_pixels)
        return array
    advice = "Convert it first"
    if array.size == 0:
        advice = "It is empty"
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        advice = "Grey: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)"
    elif array.ndim == 3 and array.shape[2] == 4:
        advice = "Four channels: image[:, :, :3] drops the alpha of BGRA"
    elif array.ndim == 3 and array.shape[0] == 3:
        advice = "Channels first: np.ascontiguousarray(image.transpose(1, 2, 0))"
    if array.size and array.dtype != np.uint8:
        advice += ". " + _type_advice(array)
    raise ImageError(f"array has shape {array.shape} and type {array.dtype}; expected (H, W, 3) uint8 BGR. {advice}.")


def _type_advice(array: np.ndarray) -> str:
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            return "It holds NaN or infinite values; mend those first"
        return "Floats in [0, 1]: np.rint(image * 255).astype(np.uint8)"
    if array.dtype == np.uint16:
        return "16 bits: (image >> 8).astype(np.uint8)"
    return "Type: image.astype(np.uint8), if all values are in 0..255"
