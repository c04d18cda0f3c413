"""Nothing of the user's is overwritten: every verb that writes asks here first, before any work is done.

A file may be replaced if it is of our own making and no input of this run; what it is, its content says.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from cornernet.engine.errors import OutputError
from cornernet.engine.printable import printable

Ours = Callable[[Path], bool]
"""Is this existing file one that we made?"""


def check_outputs(outputs: Mapping[Path, Ours], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse what would be lost or could not be written. `outputs`: each file, and how to know one of our own.

    Raises:
        OutputError: an output is an input (by any name: links too), is a file that is not ours, cannot be written.
    """
    read = {identity: name for name in inputs if (identity := _identity(name)) is not None}
    for path, ours in outputs.items():
        identity = _identity(path)
        if identity in read:
            same = "" if os.fspath(path) == os.fspath(read[identity]) else f" (the same file as {printable(path)})"
            raise OutputError(f"{printable(read[identity])}{same} is an input; writing there would destroy it")
        check_writable(path)
        if path.is_file() and path.stat().st_size and not ours(path):
            raise OutputError(
                f"{printable(path)} exists and was not made by this command; it was left alone. "
                "Choose another name, or move it away"
            )


def check_writable(path: Path) -> None:
    """Raises OutputError if no file can be written here; makes nothing."""
    try:
        there = path.stat()
    except FileNotFoundError:
        parent = path.absolute().parent
        while not os.path.lexists(parent):
            parent = parent.parent
        if not parent.is_dir():
            raise OutputError(f"{printable(path)}: cannot be written: {printable(parent)} is no folder") from None
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(f"{printable(path)}: cannot be written: no permission in {printable(parent)}") from None
        return
    except (OSError, ValueError) as error:
        raise OutputError(f"{printable(path)}: cannot be written: {getattr(error, 'strerror', error)}") from error
    if stat.S_ISDIR(there.st_mode):
        raise OutputError(f"{printable(path)} is a folder; expected a file to write")
    if not os.access(path, os.W_OK):
        raise OutputError(f"{printable(path)}: cannot be written: no permission")


def check_folder(folder: Path, *, claim: bool = False) -> Path:
    """A folder that is only ours: new, empty, or claimed by an earlier run. claim: make it so.

    Raises OutputError: it holds files of somebody else.
    """
    mark = folder / ".cornernet"
    if folder.is_dir() and not mark.exists() and next(folder.iterdir(), None) is not None:
        raise OutputError(f"{printable(folder)} holds files that this command did not make; choose another folder")
    check_writable(mark)
    if claim:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return folder


def picture_names(sources: Sequence[Path], folder: Path, ours: Ours) -> list[Path]:
    """A file in `folder` for the annotated copy of each source, none of them anybody else's.

    Pictures of one name get numbers, and so does one whose name belongs to a file that we did not make.

    Raises:
        OutputError: `folder` holds one of the sources, or cannot be written.
    """
    read = {identity for source in sources if (identity := _identity(source)) is not None}
    home = _identity(folder)
    for parent in dict.fromkeys(source.parent for source in sources if source.is_file()):
        if home is not None and _identity(parent) == home:
            raise OutputError(
                f"{printable(folder)} holds pictures that are read; choose another folder for the annotated copies"
            )
    check_writable(folder / "detections.jsonl")
    taken: set[str] = set()

    def free(path: Path) -> bool:
        if path.name in taken:
            return False
        return not os.path.lexists(path) or (path.is_file() and _identity(path) not in read and ours(path))

    names: list[Path] = []
    for source in sources:
        numbered = (folder / f"{source.stem}-{number}.jpg" for number in count(2))
        names.append(next(filter(free, chain([folder / f"{source.stem}.jpg"], numbered))))
        taken.add(names[-1].name)
    return names


def json_starting_with(key: str) -> Ours:
    """JSON, or lines of it, whose first object has `key` first: how each of our reports begins. An empty list too."""
    start = re.compile(rb'\s*(\[\s*\]|\[?\s*\{\s*"' + key.encode() + rb'"\s*:)')

    def ours(path: Path) -> bool:
        with path.open("rb") as file:
            return start.match(file.read(4096)) is not None

    return ours


def carries_card(path: Path) -> bool:
    """A model that one of our commands wrote: the model card is in it, or (engines) beside it."""
    from cornernet.engine.model_card import METADATA_KEY

    beside = path.with_name(f"{path.name}.json")
    if beside.is_file() and b'"flavour"' in beside.read_bytes():
        return True
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(METADATA_KEY.encode()) >= 0


def marked_picture(path: Path) -> bool:
    """A picture or chart that says that we made it."""
    from cornernet.engine.results.picture_file import is_marked

    return is_marked(path)


def anything(path: Path) -> bool:
    """A file that the command itself checks before it touches it."""
    return True


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; to a pipe or a device as it comes. Raises OSError."""
    from cornernet.engine.whole_file import write_text_whole

    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        write_text_whole(path.resolve(), text)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What tells a file from all others, by whatever name; None if there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
