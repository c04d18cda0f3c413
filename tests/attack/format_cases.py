"""Damage that knows the format: chunks with right checksums, tags, segments, scans, and sizes near the limits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

import cv2
import hostile_images as hostile

from attack.mutations import extreme, mutate

Files = Sequence[tuple[str, bytes]]
"""Good files to start from: what it is, content."""

_PLACES = (0, 1, 2, 4, 8, 12, 15)


def _any(chance: Random, files: Files, kind: str) -> bytes:
    return chance.choice([content for name, content in files if name.startswith(kind)])


def _side(chance: Random) -> int:
    """A side that is often near a limit: 2**26 pixels are allowed."""
    return chance.choice((0, 1, 60, 8191, 8192, 8193, 16383, 65535, chance.randrange(1, 30_000), extreme(chance)))


def png(chance: Random, files: Files) -> bytes:
    """Chunks changed, added, repeated, moved; checksums are right, so that the decoder goes on."""
    chunks = _png_chunks(_any(chance, files, "png"))
    for _ in range(chance.choice((1, 2, 4))):
        place, act = chance.randrange(len(chunks)), chance.randrange(7)
        kind, content = chunks[place]
        if act == 0:
            chunks[place] = (kind, mutate(chance, content))
        elif act == 1 and kind == b"IHDR":
            fields = [_side(chance), _side(chance), *(chance.choice(_PLACES) for _ in range(5))]
            keep = chance.randrange(1, 7)
            whole = struct.pack(">IIBBBBB", *fields)
            chunks[place] = (kind, whole[:keep] + content[keep:] if chance.random() < 0.5 else whole)
        elif act == 2:
            chunks.insert(place, (kind, content))
        elif act == 3 and len(chunks) > 1:
            chunks.insert(chance.randrange(len(chunks)), chunks.pop(place))
        elif act == 4:
            bomb = zlib.compress(bytes(chance.choice((100, 10**5, 10**7))), 1)
            kind = chance.choice(
                (b"zTXt", b"iCCP", b"iTXt", b"eXIf", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"sPLT")
            )
            content = chance.choice((b"a\0\0" + bomb, bomb, chance.randbytes(chance.randrange(300)), bytes(26)))
            chunks.insert(chance.randrange(1, len(chunks) + 1), (kind, content))
        elif act == 5 and kind == b"IDAT":
            chunks[place] = (kind, zlib.compress(bytes(chance.choice((0, 10**4, 2 * 10**7))), 1))
        else:
            chunks[place] = (chance.randbytes(4), content)
    made = b"\x89PNG\r\n\x1a\n" + b"".join(hostile.png_chunk(*chunk) for chunk in chunks)
    if chance.random() < 0.2:  # a length that lies
        place = made.find(chance.choice(chunks)[0]) - 4
        made = made[:place] + struct.pack(">I", extreme(chance)) + made[place + 4 :] if place > 8 else made
    return made


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    place, chunks = 8, []
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunks.append((kind, data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def large_png(chance: Random, files: Files) -> bytes:
    """Blank, of any depth and filter, up to the limits: small files that take the longest."""
    depth, colour = chance.choice(((1, 0), (8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 2), (16, 6)))
    width = chance.randrange(2000, 16000)
    height = min(chance.choice((2**26, 2**25, 2**24)) // width, 65535)
    row = bytes([chance.randrange(5)]) + bytes((width * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth + 7) // 8)
    squeeze = zlib.compressobj(1)
    pixels = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, chance.choice((0, 0, 1)))
    chunks = [hostile.png_chunk(b"IHDR", header), hostile.png_chunk(b"IDAT", pixels), hostile.png_chunk(b"IEND")]
    if colour == 3:
        chunks.insert(1, hostile.png_chunk(b"PLTE", bytes(768)))
    if chance.random() < 0.5:
        chunks.insert(1, hostile.png_chunk(b"eXIf", _exif(chance.randrange(10))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(chance: Random, files: Files) -> bytes:
    """Segments changed, repeated, moved, with lengths that may lie."""
    segments = _jpeg_segments(_any(chance, files, "jpg"))
    for _ in range(chance.choice((1, 2, 4))):
        place, act = chance.randrange(len(segments)), chance.randrange(6)
        if act == 0:
            segments[place] = mutate(chance, segments[place])
        elif act == 1:
            segments[place:place] = [segments[place]] * chance.choice((1, 2, 50))
        elif act == 2:
            segments.insert(chance.randrange(len(segments)), segments.pop(place))
        elif act == 3:
            frame = next((at for at, segment in enumerate(segments) if segment[1:2] in (b"\xc0", b"\xc2")), place)
            content = bytearray(segments[frame])
            if len(content) > 17:
                content[1] = chance.choice((*range(0xC0, 0xD0), 0xD9))
                content[5:9] = struct.pack(">HH", _side(chance) % 65536, _side(chance) % 65536)
                content[11] = chance.choice((0x11, 0x22, 0x41, 0x44, 0x00, 0xFF, content[11]))
            segments[frame] = bytes(content)
        elif act == 4:
            body = chance.choice(
                (_exif(chance.randrange(12)), chance.randbytes(chance.randrange(400)), b"Adobe" + bytes(9))
            )
            marker = chance.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xDD, 0xDC, 0xC4, 0xDB, 0xCC))
            segments.insert(1, struct.pack(">BBH", 255, marker, len(body) + 2) + body)
        elif len(segments[place]) > 3:
            segments[place] = segments[place][:2] + struct.pack(">H", extreme(chance) % 65536) + segments[place][4:]
    return b"".join(segments)


def _jpeg_segments(data: bytes) -> list[bytes]:
    place, segments = 2, [data[:2]]
    while place < len(data):
        end = place + 2 + struct.unpack_from(">H", data, place + 2)[0] if place + 4 <= len(data) else len(data)
        if data[place + 1] == 0xDA:  # the scan belongs to it
            following = [
                at
                for at in range(end, len(data) - 1)
                if data[at] == 255 and data[at + 1] not in (0, *range(0xD0, 0xD8))
            ]
            end = following[0] if following else len(data)
        segments.append(data[place:end])
        place = end
    return segments


def large_jpeg(chance: Random, files: Files) -> bytes:
    """Blank, of many scans, turned by EXIF, up to the limits."""
    side = chance.choice((800, 3000, 5700, 8000))
    options = [cv2.IMWRITE_JPEG_QUALITY, 5]
    if chance.random() < 0.6:
        options += [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    if chance.random() < 0.5:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chance.choice((0x111111, 0x221111, 0x411111))]
    data = hostile.encode(hostile.white(side // 2, side * 2), ".jpg", *options)
    body = _exif(chance.choice((1, 3, 6, 8)))
    last = data[data.rfind(b"\xff\xda") : -2]
    scans = chance.choice((0, 0, 1, 5, 20, 2000)) if len(last) < 50_000 else 0
    return data[:2] + struct.pack(">BBH", 255, 0xE1, len(body) + 2) + body + data[2:-2] + last * scans + data[-2:]


def _exif(orientation: int) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<HHI", orientation, 0, 0)


_TAGS = (254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 284, 317, 320, 322, 323, 324, 325, 330)
_TAGS += (338, 339, 347, 512, 513, 514, 530, 531, 532, 34665, 42112)


def tiff(chance: Random, files: Files) -> bytes:
    """Tags lie, come twice, have odd types; strips and tiles of any compression."""
    width, height = (chance.choice((10, 60, 1000, 8192, 20_000, _side(chance) % 2**32)) for _ in range(2))
    strips = chance.choice((1, 1, 4, 300, 5000))
    samples, bits = chance.choice((1, 3, 4)), chance.choice((1, 4, 8, 16, 32))
    compression = chance.choice((1, 1, 5, 8, 32946, 32773, 2, 3, 4, 6, 7, 34712, 50000, 34925, 34676, 65535))
    rows = max(1, -(-height // strips))
    plain = bytes(min(rows * max(1, width * samples * bits // 8), chance.choice((100, 10**6, 10**7))))
    strip = zlib.compress(plain, 1) if compression in (8, 32946) else plain[:50_000] or b"\0"
    if compression in (6, 7):
        strip = _any(chance, files, "jpg")
    tags: list[tuple[int, Sequence[int]]] = [
        (256, [width]),
        (257, [height]),
        (258, [bits] * chance.choice((1, samples))),
        (259, [compression]),
        (262, [chance.choice((0, 1, 2, 3, 5, 6, 8, 32803, 32844, 32845))]),
        (277, [samples]),
        (284, [chance.choice((1, 1, 2))]),
    ]
    if chance.random() < 0.3:
        tags += [
            (322, [_side(chance) % 2**32]),
            (323, [_side(chance) % 2**32]),
            (324, [8] * strips),
            (325, [len(strip)] * strips),
        ]
    else:
        tags += [
            (273, [8] * strips),
            (278, [rows % 2**32]),
            (279, [chance.choice((len(strip), len(strip) // strips))] * strips),
        ]
    for _ in range(chance.choice((0, 0, 1, 3))):
        extra = (chance.choice(_TAGS), [extreme(chance) for _ in range(chance.choice((1, 2, 3, 100)))])
        tags.insert(chance.randrange(len(tags) + 1), extra)
    if chance.random() < 0.1:
        del tags[chance.randrange(len(tags))]
    made = bytearray(hostile.tiff(tags, strip))
    for _ in range(chance.choice((0, 0, 1, 2))):  # another type or count
        place = 8 + len(strip) + 2 + 12 * chance.randrange(len(tags))
        made[place + 2 : place + 4] = struct.pack("<H", chance.choice((1, 3, 5, 11, 12, 13, 16, 0, 99)))
        if chance.random() < 0.5:
            made[place + 4 : place + 8] = struct.pack("<I", extreme(chance))
    return bytes(made)


def pnm(chance: Random, files: Files) -> bytes:
    """Headers with comments and odd blanks, samples that may be missing."""
    gaps = (b" ", b"\n", b"\t", b"\r", b"\x0b", b"#\n", b"# 9 9\n", b"#\r", b" #x\r\n", b"", b"\0", b"#" * 5000 + b"\n")
    numbers = [str(_side(chance)).encode(), str(_side(chance)).encode(), str(extreme(chance) % 70_000).encode()]
    for place in range(3):
        numbers[place] = chance.choice((numbers[place], numbers[place], b"0" * 50 + b"7", b"-5", b"1e3", b"+9", b"20"))
    header = b"P" + chance.choice((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"f"))
    for number in numbers:
        header += chance.choice(gaps) + number
    body = chance.choice((bytes(10**6 - 6000), b"1 " * 490_000, b"99999 " * 1000, b"", b"1" * 400_000))
    return header + chance.choice(gaps) + body


def gif(chance: Random, files: Files) -> bytes:
    """Fields of the screen and of the picture lie; blocks of codes repeat."""
    data = bytearray(_any(chance, files, "gif"))
    for place in chance.sample((6, 8, 10, 11, 12), 2):
        data[place : place + 2] = struct.pack("<H", _side(chance) % 65536)
    picture = data.find(b"\x2c", 13)
    if picture > 0 and chance.random() < 0.7:
        for place in chance.sample((1, 3, 5, 7, 8, 9), 2):
            at = picture + place
            data[at : at + 2] = struct.pack("<H", _side(chance) % 65536)
    made = bytes(data)
    return made if chance.random() < 0.8 else made[:-1] + made[picture:] * chance.choice((1, 20, 200))


def webp(chance: Random, files: Files) -> bytes:
    """Chunks with sizes, flags and frames that lie."""
    data = _any(chance, files, "webp")
    if chance.random() < 0.5:
        canvas = min(max(1, _side(chance)), 2**24), min(max(1, _side(chance)), 2**24)
        size = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
        frame = b"ANMF" + struct.pack("<I", len(data) - 12 + 16) + bytes(6) + size + bytes(4) + data[12:]
        flags = chance.randrange(64)
        body = b"VP8X" + struct.pack("<IB3x", 10, flags) + size + b"ANIM" + struct.pack("<I", 6) + bytes(6)
        body += frame * chance.choice((1, 5, 100)) if flags & 2 else data[12:]
        data = b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    return mutate(chance, data) if chance.random() < 0.7 else data


def bmp(chance: Random, files: Files) -> bytes:
    """Any header size, depth, compression and place of the pixels."""
    header = chance.choice((12, 40, 40, 52, 56, 64, 108, 124, extreme(chance)))
    bits, compression = (
        chance.choice((1, 4, 8, 16, 24, 32, 0, 255)),
        chance.choice((0, 0, 1, 2, 3, 4, 5, 6, 11, extreme(chance))),
    )
    width, height = _side(chance), chance.choice((_side(chance), 2**32 - _side(chance) % 2**32 - 1))
    offset = chance.choice((54, 58, 118, 1078, extreme(chance)))
    fields = struct.pack("<IIHH6I", width % 2**32, height % 2**32, 1, bits, compression, 0, 0, 0, extreme(chance), 0)
    body = chance.choice(
        (bytes(10**6 - 2000), chance.randbytes(50_000), b"\0\2\xff\xff" * 9000, b"\xff\x01" * 200_000, b"")
    )
    return b"BM" + struct.pack("<IIII", len(body), 0, offset, header) + fields + bytes(1024) + body


MAKERS: dict[str, Callable[[Random, Files], bytes]] = {
    "png chunks": png,
    "jpeg segments": jpeg,
    "tiff tags": tiff,
    "pnm header": pnm,
    "gif fields": gif,
    "webp chunks": webp,
    "bmp header": bmp,
    "png of many pixels": large_png,
    "jpeg of many pixels": large_jpeg,
}
