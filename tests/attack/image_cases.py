"""Image files between two good ones: whatever is in the middle, the good ones give the same boxes to the bit."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from random import Random

import cv2
import numpy as np
from fake_backends import BRIGHT_BOX_GRAPH, make_card, picture, write_onnx

from attack.families import Case
from attack.format_cases import MAKERS
from attack.mutations import mutate
from cornernet import Detector

MOST_BYTES = 10**6

_COMPRESSIONS = (1, 2, 5, 7, 8, 32773)
_ENCODINGS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (".jpg", ()),
    (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
    (".jpg", (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111)),
    (".png", ()),
    (".png", (cv2.IMWRITE_PNG_BILEVEL, 1)),
    (".bmp", ()),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 50)),
    (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
    (".gif", ()),
    (".ppm", ()),
    (".ppm", (cv2.IMWRITE_PXM_BINARY, 0)),
    (".pgm", ()),
    (".pbm", ()),
    *((".tiff", (cv2.IMWRITE_TIFF_COMPRESSION, compression)) for compression in _COMPRESSIONS),
)


@cache
def good_files() -> tuple[tuple[str, bytes], ...]:
    """(what it is, content) of one small file of each encoding, grey, with transparency and of 16 bits where it can."""
    noise = np.random.default_rng(0).integers(0, 80, (40, 60, 3), np.uint8)
    noise[8:30, 12:50] = 255
    files = []
    for suffix, options in _ENCODINGS:
        images = {"": noise}
        if suffix in (".jpg", ".png", ".tiff", ".bmp", ".pgm", ".pbm"):
            images[" grey"] = noise[:, :, 0]
        if suffix in (".png", ".tiff", ".webp", ".bmp"):
            images[" alpha"] = np.dstack((noise, noise[:, :, 0]))
        if suffix in (".png", ".tiff") and not options:
            images[" 16 bits"] = noise.astype(np.uint16) * 257
        for name, image in images.items():
            with contextlib.suppress(cv2.error):  # an encoding that this build does not have, or not for this type
                done, content = cv2.imencode(suffix, image, list(options))
                files += [(suffix[1:] + name, content.tobytes())] if done else []
    return tuple(files)


class _Bench:
    """The detector that all cases of a process share, its good picture, and what is found there."""

    def __init__(self, folder: Path) -> None:
        path = write_onnx(folder / "bench.onnx", make_card(train_size=(128, 128)), BRIGHT_BOX_GRAPH)
        self.detector = Detector(path, threads=1)
        self.good = picture(100, 150, (20, 30, 60, 70))
        self.expected = self.detector.predict(self.good)[0].to_json()

    def drive(self, source: bytes | Path) -> str:
        before, found, after = self.detector.predict([self.good, source, self.good], batch_size=2)
        assert before.to_json() == self.expected, "the picture before it has other boxes"
        assert after.to_json() == self.expected.replace('"index": 0', '"index": 2'), "the one after it has other boxes"
        found.to_json().encode()
        if found.error is not None:
            assert len(found) == 0 and isinstance(found.error, str) and len(found.error) < 2000
            return "refused"
        assert found.image_size is not None and min(found.image_size) > 0
        assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()
        return "used"


_benches: dict[Path, _Bench] = {}


def make(chance: Random, folder: Path, number: int) -> Case:
    if folder not in _benches:
        _benches[folder] = _Bench(folder)
    bench = _benches[folder]
    if chance.random() < 0.5:
        kind, content = chance.choice(good_files())
        content = mutate(chance, content)
        if chance.random() < 0.05:  # two files in one
            content = content[: chance.randrange(len(content) + 1)] + chance.choice(good_files())[1]
    else:
        large = chance.random() < 0.04  # each takes a second
        kind = chance.choice([name for name in MAKERS if name.endswith("many pixels") == large])
        content = MAKERS[kind](chance, good_files())
    content = content[:MOST_BYTES]
    suffix = chance.choice((".jpg", ".png", ".tif", ".gif", ".webp", ".bmp", ".ppm", ""))
    path = folder / f"case{suffix}"
    path.write_bytes(content)
    source = content if chance.random() < 0.5 else path
    return Case(kind, lambda: bench.drive(source))
