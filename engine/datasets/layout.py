"""What a reader of a layout provides, and how the name of a split is understood."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cornernet.engine.arguments import shown_path
from cornernet.engine.errors import DatasetError
from cornernet.engine.scoring.coco import CocoDataset


@dataclass(frozen=True)
class Layout:
    """A way in which files say what is in pictures.

    marks:  what tells it from others, for messages.
    splits: the splits of a data set, in order of their names; nothing if the folder is none of this layout.
    read:   one of them. Both raise DatasetError if the folder is of this layout, but unusable.
    """

    name: str
    marks: str
    splits: Callable[[Path], Sequence[str]]
    read: Callable[[Path, str], CocoDataset]


_SAME = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
_YEAR = re.compile(r"[-_]?\d{4}$")


def match_split(asked: str | None, there: Sequence[str]) -> str | None:
    """The split that is meant: its own name, another word for it (val, valid), or with a year (train2017).

    None as `asked` is the only one there is. None is the answer where there is none, or more than one.
    """
    if asked in there:
        return asked
    if asked is None:
        return there[0] if len(there) == 1 else None
    words = next((words for words in _SAME if asked in words), (asked,))
    meant = [name for name in there if _YEAR.sub("", name.lower()) in words]
    return meant[0] if len(meant) == 1 else None


def usual_splits(there: Sequence[str]) -> list[str]:
    """Those to train, validate and test on; all, if they are called otherwise."""
    usual = [name for words in _SAME for name in there if _YEAR.sub("", name.lower()) in words]
    return usual or list(there)


def plain_names(there: Sequence[str]) -> dict[str, str]:
    """Split -> train, val or test where it is the only one of its kind, else its own name."""
    plain = {}
    for name in there:
        words = next((words for words in _SAME if _YEAR.sub("", name.lower()) in words), (name,))
        plain[name] = words[0] if match_split(words[0], there) == name else name
    return plain


def text_of(path: Path, most_bytes: int) -> str:
    """A text file, UTF-8 (other bytes stay what they are in names of files). Raises DatasetError."""
    try:
        if not path.is_file():
            raise DatasetError(f"{shown_path(path)}: {'not a regular' if path.exists() else 'no such'} file")
        if (size := path.stat().st_size) > most_bytes:
            raise DatasetError(f"{shown_path(path)}: {size} bytes; expected a text file of at most {most_bytes}")
        return path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{shown_path(path)}: cannot be read: {getattr(error, 'strerror', error)}") from error
