"""The one way a file is written here: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then put it in place in one step; its folder is made.

    A reader sees the old file or the new one. After a failure (full disk, kill) the old one is still there and nothing
    else is left. The file is as readable for others as the umask says, whatever made it.

    Raises:
        OSError, and whatever `write` raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and short: a name of 255 bytes, the longest there is, has no room for a suffix.
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            mode = os.fstat(file.fileno()).st_mode
        write(partial)
        partial.chmod(mode)  # safetensors makes files that only their owner may read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text_whole(path: str | os.PathLike[str], text: str) -> None:
    """`write_whole` of a text, UTF-8, `\\n` at the end of lines on every system. Raises OSError."""
    write_whole(path, lambda partial: partial.write_bytes(text.encode("utf-8")))
