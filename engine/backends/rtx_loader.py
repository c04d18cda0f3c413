"""Keep TensorRT-RTX from ending the process at the first plugin.

At the first plugin node its ONNX parser calls `dlopen("libtensorrt_rtx.so")`. The wheel ships only
`libtensorrt_rtx.so.1`; the call fails and the parser calls `std::terminate`, so Python dies without a traceback
(tensorrt_rtx 1.7.1). Loading the real file first does not help: the dynamic loader compares the asked name with the
SONAMEs of what is loaded. An empty library with that SONAME, which needs the real one, does.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

from cornernet.engine.errors import BackendError

ASKED = "libtensorrt_rtx.so"
SHIPPED = "libtensorrt_rtx.so.1"


@cache
def make_parser_find_its_library(module: ModuleType) -> None:
    """Make `dlopen("libtensorrt_rtx.so")` succeed in this process. Raises BackendError rather than let it abort."""
    if _loads(ASKED):
        return
    folder = library_folder(module)
    compiler = next((path for path in map(shutil.which, ("cc", "gcc", "clang")) if path), None)
    if compiler is None:
        raise BackendError(_without_compiler(folder))
    shim = Path(tempfile.mkdtemp(prefix="cornernet-rtx-")) / ASKED
    command = [compiler, "-shared", "-Wl,--no-as-needed", f"-Wl,-soname,{ASKED}", "-o", str(shim), "-x", "c"]
    command += ["/dev/null", f"-L{folder}", f"-l:{SHIPPED}"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise BackendError(f"{compiler} could not make a stand-in for {ASKED}: {made.stderr.strip()}")
    ctypes.CDLL(str(shim), mode=ctypes.RTLD_GLOBAL)
    shutil.rmtree(shim.parent)  # mapped by now
    if not _loads(ASKED):
        raise BackendError(_without_compiler(folder))


def library_folder(module: ModuleType) -> Path:
    """Where the wheel keeps `libtensorrt_rtx.so.1`. Raises BackendError if it is not there."""
    site = Path(module.__file__ or "").resolve().parents[1]
    folder = site / "tensorrt_rtx_libs"
    if not (folder / SHIPPED).is_file():
        raise BackendError(
            f"{SHIPPED} is not in {folder}, so plugins cannot be parsed. Put a folder that holds {ASKED} on "
            "LD_LIBRARY_PATH, or install it again: pip install --force-reinstall tensorrt-rtx"
        )
    return folder


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _without_compiler(folder: Path) -> str:
    """Not even a symlink made now would be seen: the loader reads LD_LIBRARY_PATH once, when the process starts."""
    return (
        f"TensorRT-RTX asks for {ASKED} when it meets a plugin and would end this process, because its wheel ships "
        f"only {SHIPPED}. Install a C compiler (gcc), or give it that name before starting Python:  mkdir -p rtx && "
        f"ln -sf {folder / SHIPPED} rtx/{ASKED} && export LD_LIBRARY_PATH=$PWD/rtx:$LD_LIBRARY_PATH"
    )
