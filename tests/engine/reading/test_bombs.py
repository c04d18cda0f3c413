"""No small file may take long, or much memory; no genuine picture may be refused for it."""

import json
import resource
import subprocess
import sys
import time
import zlib

import cv2
import hostile_images as hostile
import pytest

from cornernet.engine.errors import ImageError
from cornernet.engine.reading.headers.formats import read_header
from cornernet.engine.reading.headers.header import MAX_PIXELS
from cornernet.engine.reading.images import read_image

MOST_SECONDS, MOST_MEGABYTES = 2.0, 600
TEXT = hostile.png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000), 9))
BOMBS = {
    "a PNG chunk of 4 GB": lambda: hostile.png(9, 9)[:33] + b"\xff\xff\xff\xf0tEXtIEND\xaeB`\x82",
    "100 compressed texts": lambda: hostile.png(9, 9, extra=100 * TEXT, rows=bytes(9 * 28)),
    "a PNG of 16 bits and 4 channels": lambda: hostile.png(8192, 8192, depth=16, colour=6),
    "a TIFF of two sizes": lambda: hostile.tiff_with_two_sizes(20_000),
    "100,000 TIFF strips": lambda: hostile.tiff_of_strips(10**5, 60, zlib.compress(bytes(60)), strips=10**5),
    "a progressive JPEG of 20,000 scans": lambda: hostile.jpeg_of_scans(800, 20_000),
    "a GIF that clears 3 million times": hostile.gif_of_clears,
    "a lossless WebP of 40 million pixels with 65,536 groups of codes": lambda: hostile.webp_lossless(6500, 6200),
    "a PNM that hides its size": lambda: b"P5\n#\r20000 20000\n#\n1 1\n255\n" + bytes(100),
    "a BMP without rows": lambda: hostile.bmp(8000, 8000),
}
"""Some took 20 s or 4 GB before they were refused."""

CHILD = """
import json, resource, sys, time
import cv2
from cornernet.engine.errors import ImageError
from cornernet.engine.reading.images import read_image

cv2.setNumThreads(1)
for name in sys.argv[1:]:
    data = open(name, "rb").read()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        read_image(data)
        found = "read"
    except ImageError as error:
        found = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([found, time.process_time() - start, grown / 1024]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """(outcome, CPU seconds, growth of the resident memory [MB]) of each bomb, read one after the other."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = []
    for number, make in enumerate(BOMBS.values()):
        content = make()
        assert len(content) < 1_100_000
        paths.append(folder / str(number))
        paths[-1].write_bytes(content)
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, timeout=120)
    return dict(zip(BOMBS, map(json.loads, done.stdout.splitlines())))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_no_time_and_no_memory(name, outcomes):
    found, seconds, megabytes = outcomes[name]
    assert (found == "read") == (name == "100 compressed texts")  # they are left out, the picture is fine
    assert seconds < MOST_SECONDS and megabytes < MOST_MEGABYTES


PAGE = hostile.white(4000, 5000)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
BLANK = {
    "JPEG": lambda: hostile.encode(PAGE, ".jpg", *PROGRESSIVE),
    "PNG": lambda: hostile.png(4000, 5000, depth=16, colour=6),
    "TIFF": lambda: hostile.encode(PAGE, ".tiff"),
    "WebP": lambda: hostile.encode(PAGE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "GIF": lambda: hostile.encode(PAGE, ".gif"),
}


@pytest.mark.parametrize("kind", BLANK)
def test_a_blank_scan_of_20_million_pixels_is_no_bomb(kind):
    data = BLANK[kind]()
    header = read_header(data)
    assert (header.height, header.width) == (4000, 5000)
    header.check(len(data), kind, MAX_PIXELS)
    if kind != "PNG":  # its pixels are missing: 160 MB take a second to compress
        assert read_image(data).shape == (4000, 5000, 3)


@pytest.mark.slow
def test_the_costliest_blank_png_that_is_read_stays_within_the_bounds():
    rows = (b"\4" + bytes(4 * 8192)) * 8191  # Paeth, the slowest filter
    data = hostile.png(8191, 8192, colour=6, rows=rows)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    read_image(data)
    assert time.process_time() - start < 10 * MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MEGABYTES


def test_the_bound_grows_with_the_file_and_with_max_pixels():
    deep = hostile.png(6000, 8192, depth=16, colour=6)
    with pytest.raises(ImageError, match="a decompression bomb"):
        read_image(deep)
    with pytest.raises(ImageError, match="cannot be decoded"):  # nothing in it, but it was let through
        read_image(deep, max_pixels=2**28)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(hostile.png(6000, 8192, depth=16, colour=6, extra=hostile.png_chunk(b"aaAa", bytes(2_500_000))))
