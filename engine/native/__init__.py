"""What Python is too slow for, compiled, and how it is called: all of post-processing for one image.

Start with suppress.cpp. It is used where a library was compiled, see `library_path`; elsewhere results/postprocess.py
does the same in numpy, more slowly.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

LIBRARY_NAME = {"win32": "cornernet_native.dll", "darwin": "libcornernet_native.dylib"}.get(
    sys.platform, "libcornernet_native.so"
)
VERSION = 1
"""Of the layouts below; a library of another one, left over from an older checkout, is not used."""

METHODS = {None: 0, "gaussian": 1, "linear": 2, "hard": 3}

log = logging.getLogger("cornernet.native")


class View(ctypes.Structure):
    """One view of an image: addresses of its raw rows, and the way back to image pixels; see suppress.cpp."""

    _fields_ = (
        ("boxes", ctypes.c_void_p),
        ("scores", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("mirror_axis", ctypes.c_double),
        ("left", ctypes.c_double),
        ("top", ctypes.c_double),
        ("right", ctypes.c_double),
        ("bottom", ctypes.c_double),
        ("horizontal", ctypes.c_double),
        ("vertical", ctypes.c_double),
        ("count", ctypes.c_int32),
        ("mirrored", ctypes.c_int32),
    )


class Rule(ctypes.Structure):
    """How boxes are thinned out; see suppress.cpp."""

    _fields_ = (
        ("minus_inverse_sigma", ctypes.c_float),
        ("iou_threshold", ctypes.c_float),
        ("min_score", ctypes.c_float),
        ("iou_pixel", ctypes.c_float),
        ("method", ctypes.c_int32),
        ("limit", ctypes.c_int32),
        ("drop_empty", ctypes.c_int32),
    )


class Best(NamedTuple):
    """boxes (m, 4) float32 [px, image], scores (m,) float32, labels (m,) int32, best first."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def library_path() -> Path | None:
    """The library: beside this file in an install, in build/native/ of a checkout; None where none was compiled."""
    here = Path(__file__).resolve().parent
    places = (here / LIBRARY_NAME, here.parents[1] / "build" / "native" / LIBRARY_NAME)
    return next((path for path in places if path.is_file()), None)


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, ready to call, or None where there is none that fits."""
    path = library_path()
    if path is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        version = library.cornernet_native_version()
    except (OSError, AttributeError) as error:
        log.warning("%s cannot be used, post-processing runs in numpy: %s", path, error)
        return None
    if version != VERSION:
        log.warning(
            "%s is of version %d, expected %d: install again. Post-processing runs in numpy.", path, version, VERSION
        )
        return None
    library.cornernet_suppress.restype = ctypes.c_int32
    return library


def suppress(library: ctypes.CDLL, views: Sequence[View], rule: Rule) -> Best:
    """The best boxes of one image's views. Without Python's lock; raises MemoryError."""
    boxes = np.empty((rule.limit, 4), np.float32)
    scores = np.empty(rule.limit, np.float32)
    labels = np.empty(rule.limit, np.int32)
    table = (View * len(views))(*views)
    count = library.cornernet_suppress(
        table,
        len(views),
        ctypes.byref(rule),
        boxes.ctypes.data_as(ctypes.c_void_p),
        scores.ctypes.data_as(ctypes.c_void_p),
        labels.ctypes.data_as(ctypes.c_void_p),
    )
    if count < 0:
        raise MemoryError("not enough memory to sort the boxes of one image")
    return Best(boxes[:count].copy(), scores[:count].copy(), labels[:count].copy())
