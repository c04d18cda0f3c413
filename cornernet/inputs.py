"""What `predict` is given as a list of single sources: pictures, addresses, videos, cameras; and which part is ours."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from cornernet.engine.reading.images import ImageSource, expand_sources, find_files
from cornernet.engine.reading.urls import is_url
from cornernet.engine.reading.video import Video, is_video

Source = Path | str | Video
"""A file, an address, or a video, camera or stream."""


def list_sources(
    given: Sequence[str], *, recursive: bool = False, every: int = 1, reader: str = "opencv"
) -> list[Source]:
    """Folders, globs and numbered sequences become their files; a number that is no file is a camera."""
    sources: list[Source] = []
    for word in given:
        if is_url(word):
            sources.append(word)
        elif word.isdigit() and not Path(word).exists():
            sources.append(Video(int(word)))
        else:
            for found in find_files(word, recursive=recursive) or [word]:
                if is_video(found):
                    sources.append(Video(found, every=every, reader=reader))
                else:
                    sources.append(Path(found))  # type: ignore[arg-type]
    return sources


def name_of(source: Source) -> str:
    """As the JSON lines have it."""
    return source.path if isinstance(source, Video) else str(source)


def file_of(source: Source) -> Path:
    """The file itself; of what is none, a name that a file could have."""
    if isinstance(source, Path):
        return source
    if isinstance(source, Video):
        return Path(source.path) if not source.live else Path(f"{_safe(source.path)}.mp4")
    return Path(_safe(source.partition("?")[0].rstrip("/").rpartition("/")[2]))


def parse_shard(text: str | None) -> tuple[int, int]:
    """'2/8' -> (2, 8), the second of eight parts; None is the one of one. Raises BadParameter (exit code 2)."""
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise typer.BadParameter(f"shard is {text!r}; expected i/n from 1/n to n/n, such as 2/8")
    return int(match[1]), int(match[2])


def in_shard(name: str, shard: tuple[int, int]) -> bool:
    """By a hash of the name alone: processes that know nothing of each other share the work, each part once."""
    part, parts = shard
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") % parts == part - 1


def pictures_of(sources: Sequence[Source], chosen: Sequence[int], owners: deque[int]) -> Iterator[ImageSource]:
    """Pictures and frames of the chosen sources; `owners` gets the number of the source of each."""
    for number in chosen:
        source = sources[number]
        for picture in source if isinstance(source, Video) else expand_sources(source):
            owners.append(number)
            yield picture


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "picture"
