"""CUDA kernels and TensorRT plugins: libcornernet_plugins.so, and where to find it.

Start with README.md, which describes the folder's C++. From Python: `library_path()` for TensorRT's plugin
registry, `cornernet.plugins.launchers` to call a kernel on device pointers. Nothing here needs numpy or torch.
"""

import os
from pathlib import Path

LIBRARY_NAME = "libcornernet_plugins.so"
LIBRARY_VARIABLE = "CORNERNET_PLUGINS_LIBRARY"
NAMESPACE = "cornernet"
VERSION = "1"
OPERATORS = (
    "CornerPoolTopLeft",
    "CornerPoolBottomRight",
    "CornerPeaks",
    "CornerWindows",
    "CornerGroup",
    "CornerSoftNms",
)


def searched_paths() -> list[Path]:
    """Where `library_path` looks, in order: the environment variable, beside this file, `build/` of a checkout."""
    here = Path(__file__).resolve().parent
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return [Path(named)]  # a wrong variable is an error to report, not a reason to load some other library
    return [here / LIBRARY_NAME, here.parent / "build" / LIBRARY_NAME, here.parent / "build" / "plugins" / LIBRARY_NAME]


def library_path() -> Path | None:
    """The plugin library, or None when it has not been built."""
    return next((path for path in searched_paths() if path.is_file()), None)
