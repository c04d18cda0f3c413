"""Pictures and results on any file system that Arrow or fsspec knows: a list of paths in, one Parquet file a part out.

A part's file is named after its pictures and appears whole or not at all, so a part done twice is there once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornernet.engine.errors import DatasetError, ImageError, ModelError, OutputError
from cornernet.engine.installation import missing
from cornernet.engine.printable import printable
from cornernet.engine.reading.images import MAX_PIXELS, SUFFIXES
from cornernet.engine.results.detections import Detections

try:
    import pyarrow as pa
    import pyarrow.fs as pafs
    import pyarrow.parquet as pq
except ImportError as error:
    raise missing("pyarrow", "a cluster's list of pictures") from error

log = logging.getLogger("cornernet.cluster")

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("error", pa.string()),
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
        ("scores", pa.list_(pa.float32())),
        ("labels", pa.list_(pa.int32())),
        ("names", pa.list_(pa.string())),
    ]
)
"""A row per picture; boxes x1 y1 x2 y2 [px]; width, height null and error a sentence if it could not be used."""

LARGEST_FILE = 8 * MAX_PIXELS + 2**26
"""Bytes. As for files of a `Detector`: 8 are one 16-bit RGBA pixel, the rest is room for metadata."""

_JOB = "_job.json"  # readers of Parquet folders pass over what begins with an underscore
_READERS = 16


@dataclass(frozen=True)
class Place:
    """A folder or file: its file system, the path there, and the address as it was given."""

    system: pafs.FileSystem
    path: str
    address: str

    @classmethod
    def of(cls, address: str) -> Place:
        """`address`: a path, or scheme://... of Arrow (file, s3, gs, hdfs) or fsspec (az, http, memory, ...).

        Raises DatasetError if nothing here knows the scheme.
        """
        if "://" not in address:
            return cls(pafs.LocalFileSystem(), str(Path(address).absolute()), address)
        try:
            system, path = pafs.FileSystem.from_uri(address)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
            system, path = _through_fsspec(address)
        return cls(system, path.rstrip("/") or path, address)

    @property
    def is_local(self) -> bool:
        return isinstance(self.system, pafs.LocalFileSystem)

    def beside(self, name: str) -> str:
        return f"{self.path}/{name}"

    def full(self, path: str) -> str:
        """The address of a file found in this place, by which any machine opens it again."""
        scheme = self.address.partition("://")[0]
        return path if self.is_local or "://" not in self.address else f"{scheme}://{path}"


def _through_fsspec(address: str) -> tuple[pafs.FileSystem, str]:
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise DatasetError(f"{printable(address)}: no file system here knows this address: {error}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(system)), path


def list_pictures(source: str, column: str = "path") -> list[str]:
    """Addresses of all pictures, each once: of a folder with its sub-folders, sorted; or of a Parquet table's column.

    Raises DatasetError: no such place, no picture, no such column, an empty entry.
    """
    place = Place.of(source)
    try:
        info = place.system.get_file_info(place.path)
        if info.type == pafs.FileType.NotFound:
            raise DatasetError(f"{printable(source)}: no such folder or table")
        if info.type == pafs.FileType.Directory:
            pictures = _below(place)
        else:
            pictures = _column(place, column)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{printable(source)}: cannot be listed: {error}") from error
    if not pictures:
        raise DatasetError(f"{printable(source)}: no pictures; looked for {', '.join(sorted(SUFFIXES))}")
    return pictures


def _below(place: Place) -> list[str]:
    if place.is_local:  # Arrow gives up at the first name that is not UTF-8
        files = (os.path.join(folder, name) for folder, _, names in os.walk(place.path) for name in names)  # noqa: PTH118
        return sorted(_text(path) for path in files if Path(path).suffix.lower() in SUFFIXES and Path(path).is_file())
    found = place.system.get_file_info(pafs.FileSelector(place.path, recursive=True))
    return sorted(place.full(one.path) for one in found if one.is_file and f".{one.extension.lower()}" in SUFFIXES)


def _text(path: str) -> str:
    """A column of text holds no bytes that are not UTF-8: such a file's row has its escaped name, and an error."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return printable(path)
    return path


def _column(place: Place, column: str) -> list[str]:
    with place.system.open_input_file(place.path) as file:
        table = pq.ParquetFile(file)
        if column not in table.schema_arrow.names:
            raise DatasetError(
                f"{printable(place.address)}: no column {column!r}, only {', '.join(table.schema_arrow.names)}"
            )
        paths = table.read(columns=[column])[column].to_pylist()
    for row, path in enumerate(paths):
        if not isinstance(path, str) or not path:
            raise DatasetError(f"{printable(place.address)}: row {row} of {column!r} is {path!r}; expected a path")
    return list(dict.fromkeys(path if "://" in path else str(Path(path).absolute()) for path in paths))


def read_pictures(paths: Sequence[str]) -> Iterator[bytes | ImageError]:
    """The files' bytes in order, some read ahead; what cannot be read is an error in its place."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), 2 * _READERS):
            yield from pool.map(_read, paths[start : start + 2 * _READERS])


def _read(address: str) -> bytes | ImageError:
    try:
        place = Place.of(address)
        info = place.system.get_file_info(place.path)
        if not info.is_file:  # to open a pipe would be to wait for ever
            return ImageError("no such file" if info.type == pafs.FileType.NotFound else "not a regular file")
        if (info.size or 0) > LARGEST_FILE:
            return ImageError(f"{info.size} bytes, more than any picture needs ({LARGEST_FILE})")
        with place.system.open_input_file(place.path) as file:
            content: bytes = file.read()
            return content
    except Exception as error:  # of a file system that nobody foresaw: one picture must not lose the others
        return ImageError(f"cannot be read: {error or type(error).__name__}")


def part_name(paths: Sequence[str]) -> str:
    """The same pictures have the same name, whoever computes them, however often."""
    return f"part-{hashlib.sha256(json.dumps(list(paths)).encode()).hexdigest()[:32]}.parquet"


def write_part(output: str, paths: Sequence[str], found: Sequence[Detections]) -> None:
    """Raises OutputError."""
    rows: list[dict[str, Any]] = [
        {
            "path": path,
            "width": one.image_size[1] if one.image_size else None,
            "height": one.image_size[0] if one.image_size else None,
            "error": one.error,
            "boxes": one.boxes.tolist(),
            "scores": one.scores.tolist(),
            "labels": one.labels.tolist(),
            "names": [name.encode("utf-8", "backslashreplace").decode() for name in one.names],
        }
        for path, one in zip(paths, found, strict=True)
    ]
    _write_table(Place.of(output), part_name(paths), pa.Table.from_pylist(rows, SCHEMA))


def _write_table(place: Place, name: str, rows: pa.Table) -> None:
    # A bucket shows an object when it is closed; elsewhere a file is visible while it grows, unless it is moved.
    target = place.beside(name)
    partial = place.beside(f".{uuid.uuid4().hex}.tmp") if place.is_local else target
    try:
        with place.system.open_output_stream(partial) as stream:
            pq.write_table(rows, stream)
        if partial != target:
            place.system.move(partial, target)
    except (pa.ArrowException, OSError) as error:
        raise OutputError(f"{printable(place.address)}: cannot be written: {error}") from error


def pictures_done(output: str, *, retry_errors: bool = False) -> set[str]:
    """Addresses whose rows are in `output`. A part that cannot be read, where a machine fell, is taken away.

    retry_errors: rows with an error are taken out of their parts, and count as not done.
    """
    place = Place.of(output)
    done: set[str] = set()
    for info in place.system.get_file_info(pafs.FileSelector(place.path, allow_not_found=True)):
        if info.is_file and info.base_name.startswith("part-") and info.extension == "parquet":
            try:
                with place.system.open_input_file(info.path) as file:
                    rows = pq.read_table(file, columns=None if retry_errors else ["path"])
            except (pa.ArrowException, OSError) as error:
                log.warning("%s cannot be read and is done again: %s", info.path, error)
                place.system.delete_file(info.path)
                continue
            if retry_errors and rows["error"].null_count < len(rows):
                rows = rows.filter(rows["error"].is_null())
                if len(rows):
                    _write_table(place, info.base_name, rows)
                else:
                    place.system.delete_file(info.path)
            done.update(rows["path"].to_pylist())
    return done


def open_output(output: str, job: dict[str, Any]) -> None:
    """Make the folder, or see that what is in it is of the same `job`: model and settings.

    Raises OutputError: of another job, somebody else's, or it cannot be written.
    """
    place = Place.of(output)
    try:
        place.system.create_dir(place.path, recursive=True)
        there = [info.base_name for info in place.system.get_file_info(pafs.FileSelector(place.path))]
        if _JOB in there:
            with place.system.open_input_file(place.beside(_JOB)) as file:
                before = json.loads(file.read())
            if before != job:
                other = [key for key in {**before, **job} if before.get(key) != job.get(key)]
                raise OutputError(
                    f"{printable(output)} holds results of another job, with other {', '.join(other)}; "
                    "choose another folder, or the same model and options"
                )
        elif [name for name in there if not name.startswith(".")]:
            raise OutputError(f"{printable(output)} is not empty and no output of this command; choose another folder")
        else:
            with place.system.open_output_stream(place.beside(_JOB)) as stream:
                stream.write(json.dumps(job, indent=1).encode())
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{printable(output)}: cannot be written: {error}") from error


def hash_of_model(model: str) -> str:
    """SHA-256 of the file. Raises ModelError if it is not there."""
    try:
        with Path(model).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{printable(model)}: cannot be read: {error.strerror}") from error
