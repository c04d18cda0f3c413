"""Image files that lie: small generators, one per kind of lie."""

import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np


def encode(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def white(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.full((height, width, channels), 255, np.uint8)


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height: int, width: int, *, extra: bytes = b"", depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG with `extra` chunks before its pixels; without `rows`, the pixels are missing."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + png_chunk(b"IEND")


def tiff(tags: Sequence[tuple[int, Sequence[int]]], pixels: bytes = b"") -> bytes:
    """A TIFF of these (tag, values), all LONG, in this order; `pixels` lie at byte 8."""
    directory = 8 + len(pixels)
    arrays_at = directory + 2 + 12 * len(tags) + 4
    entries, arrays = b"", b""
    for tag, values in tags:
        content = struct.pack(f"<{len(values)}I", *values)
        place = struct.pack("<I", arrays_at + len(arrays)) if len(values) > 1 else content
        arrays += content if len(values) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    return b"II*\0" + struct.pack("<I", directory) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4) + arrays


def tiff_of_strips(height: int, width: int, strip: bytes, *, strips: int, compression: int = 1) -> bytes:
    """A grey TIFF all of whose strips are the same bytes of the file."""
    rows = -(-height // strips)
    tags = [(256, [width]), (257, [height]), (258, [8]), (259, [compression]), (262, [1])]
    tags += [(273, [8] * strips), (277, [1]), (278, [rows]), (279, [len(strip)] * strips)]
    return tiff(tags, strip)


def tiff_with_two_sizes(side: int) -> bytes:
    """`side` x `side` for libtiff, which takes the first of two equal tags; 10 x 10 for who takes the last."""
    pixels = zlib.compress(bytes(min(side * side, 10**7)))
    sizes = [(256, [side]), (257, [side]), (256, [10]), (257, [10])]
    rest = [(258, [8]), (259, [8]), (262, [1]), (273, [8]), (277, [1]), (278, [side]), (279, [len(pixels)])]
    return tiff(sizes + rest, pixels)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes `scans` times more."""
    jpeg = encode(white(side, side), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    return jpeg[:-2] + scans * last + jpeg[-2:]


def gif_of_clears(megabytes: float = 1.0) -> bytes:
    """A GIF of nothing but 3-bit codes 'clear', each of which makes decoders build their table anew."""
    stream = bytes([0b00100100, 0b01001001, 0b10010010]) * 85
    blocks = (b"\xff" + stream) * int(megabytes * 4096)
    header = b"GIF89a" + struct.pack("<HHBBB", 99, 99, 0xF1, 0, 0) + bytes(12)
    return header + b"\x2c" + struct.pack("<HHHHB", 0, 0, 99, 99, 0) + b"\2" + blocks + b"\0;"


def bmp(height: int, width: int, bits: int = 24) -> bytes:
    """The header of a BMP, and one pixel."""
    return b"BM" + struct.pack("<IIIIiiHH6I", 58, 0, 54, 40, width, height, 1, bits, *[0] * 6) + bytes(4)


def webp_on_canvas(canvas: tuple[int, int], picture: np.ndarray) -> bytes:
    """A WebP whose canvas is of another size (height, width) than its picture."""
    chunk = encode(picture, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50)[12:]
    size = b"".join((side - 1).to_bytes(3, "little") for side in canvas[::-1])
    content = b"WEBPVP8X" + struct.pack("<II", 10, 0) + size + chunk
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_lossless(height: int, width: int) -> bytes:
    """The header of a lossless WebP with transparency, and a megabyte that may hold any number of Huffman codes."""
    stream = b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14 | 1 << 28) + bytes(10**6 - 1)
    return b"RIFF" + struct.pack("<I", len(stream) + 12) + b"WEBPVP8L" + struct.pack("<I", len(stream)) + stream
