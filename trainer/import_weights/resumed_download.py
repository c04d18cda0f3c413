"""A large file over HTTP: goes on where a broken connection left it, and is nobody's before its hash is right."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cornernet.engine.errors import DownloadError, OutputError
from cornernet.engine.printable import printable

Progress = Callable[[int, int | None], object]
"""Called with the bytes there are and the bytes there will be; None: the server does not say."""

LONGEST = 8 << 30
"""Bytes that a file of unknown length may have: the largest checkpoint with its optimiser is a third of it."""
_CHUNK = 1 << 20
_SLOWEST = 1024
"""Bytes a second. Below it for `patience` seconds, a connection is as good as broken."""
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """seconds: without an answer, or too slow; tries: that bring nothing new; pause [s]: before the next, doubled."""

    seconds: float = 30.0
    tries: int = 5
    pause: float = 1.0


class _Broken(Exception):
    """This connection is over; another may go on."""


def download(
    url: str,
    folder: Path,
    *,
    sha256: str = "",
    size: int | None = None,
    progress: Progress = lambda there, total: None,
    patience: Patience = Patience(),
) -> Path:
    """The file at `url`, kept in `folder`: fetched once, in as many connections as it takes.

    Args:
        sha256: the file's hash or its first digits, at least eight. Without it nothing can tell two halves of two
            files from one file: then nothing is kept for the next time, neither a part nor the file.
        size: bytes it must have; None: at most LONGEST.

    Raises:
        DownloadError: no such file, no connection, another size or hash. A part that is good so far stays.
        OutputError: the disk is full, or another process is fetching the same file.
    """
    if sha256 and not re.fullmatch("[0-9a-fA-F]{8,64}", sha256):
        raise DownloadError(f"{sha256!r} is no SHA-256; expected 64 hexadecimal digits, or at least the first 8")
    request = _Request(url, sha256.lower(), size, progress, patience)
    target = folder / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:12] / _file_name(url)
    if request.known(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_name(f"{target.name}.part").open("a+b") as file, _alone(file, target):
            if not request.known(target):  # another process may have been here first
                _fill(file, request)
                Path(file.name).replace(target)
    except OSError as error:
        if isinstance(error, DownloadError | OutputError):
            raise
        raise OutputError(f"{printable(target)}: cannot be written: {error.strerror or error}") from error
    return target


@dataclass(frozen=True)
class _Request:
    url: str
    sha256: str
    size: int | None
    progress: Progress
    patience: Patience

    def __post_init__(self) -> None:
        check_address(self.url)

    @property
    def shown(self) -> str:
        """Without its query, which may hold a key."""
        return printable(self.url.partition("?")[0])

    def known(self, path: Path) -> bool:
        return bool(self.sha256) and path.is_file() and sha256_of(path).startswith(self.sha256)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_address(url: str) -> None:
    """Raises DownloadError for what is no address of a web server: urllib would open files and FTP too."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and url.isprintable()
        good = good and " " not in url and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise DownloadError(f"{printable(url)!r} is no address; expected https://... (or http://...) in ASCII")


def _file_name(url: str) -> str:
    """The last part of the address, as a name that is one anywhere: no folder, no leading dot, no control."""
    last = urllib.parse.urlsplit(url).path.rpartition("/")[2]
    return re.sub("[^A-Za-z0-9._-]", "_", last).lstrip(".")[-120:] or "weights"


def _fill(file: IO[bytes], request: _Request) -> None:
    """Complete `file`, whatever part of it is there. Raises DownloadError, OutputError."""
    if not request.sha256:
        file.truncate(0)
    resumed = file.seek(0, 2) > 0
    while True:
        _fetch(file, request)
        file.flush()
        found = sha256_of(Path(file.name))
        if found.startswith(request.sha256):
            return
        file.truncate(0)  # nothing tells which byte is wrong
        if not resumed:
            raise DownloadError(
                f"{request.shown}: not the file that was expected, and deleted unopened: SHA-256 {found}, expected "
                f"{request.sha256}{'' if len(request.sha256) == 64 else '...'}. Try again, or ask its author."
            )
        resumed = False  # the part may have been of an older file: once more, from the start


def _fetch(file: IO[bytes], request: _Request) -> None:
    """Append until all is there. Raises DownloadError if try after try brings nothing."""
    patience, failures = request.patience, 0
    while True:
        before = file.seek(0, 2)
        try:
            if request.size is not None and before == request.size:
                return
            _append(file, before, request)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before:  # the part is longer than the file
                file.truncate(0)
            elif error.code not in _MAY_PASS:
                raise DownloadError(f"{request.shown}: the server says {error.code} {error.reason}") from error
            why = f"the server says {error.code} {error.reason}"
        except OutputError:
            raise
        except (OSError, http.client.HTTPException, _Broken, ValueError) as error:
            if isinstance(error, DownloadError):
                raise
            why = str(getattr(error, "reason", error)) or type(error).__name__
        failures = 0 if file.seek(0, 2) >= before + _CHUNK else failures + 1
        if failures >= patience.tries:
            kept = file.tell() if request.sha256 else 0
            raise DownloadError(
                f"{request.shown}: {printable(why)}; gave up after {failures} tries. "
                + (f"{kept:,} bytes are kept: the same command goes on from there." if kept else "Nothing was kept.")
            )
        time.sleep(min(patience.pause * 2 ** max(failures - 1, 0), 30))


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows to web servers only, and from https never to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_address(newurl)
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise DownloadError(f"{printable(req.full_url)} leads from https to {printable(newurl)}; not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _append(file: IO[bytes], start: int, request: _Request) -> None:
    """One connection. Raises _Broken, or what urllib raises, if it ends early: what came stays in `file`."""
    headers = {"User-Agent": "cornernet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(_SafeRedirects)
    asked = urllib.request.Request(request.url, headers=headers)
    with opener.open(asked, timeout=request.patience.seconds) as response:
        there, total = _where(response, start)
        if there != start:
            file.truncate(there)
            start = there
        _check_total(total, start, file, request)
        for chunk in _chunks(response, request):
            start += len(chunk)
            if start > (total or request.size or LONGEST):
                file.truncate(0)
                raise DownloadError(f"{request.shown}: longer than {total or request.size or LONGEST:,} bytes; stopped")
            try:
                file.write(chunk)
            except OSError as error:
                raise OutputError(f"{printable(file.name)}: cannot be written: {error.strerror}") from error
            request.progress(start, total)
    if start != (request.size or total or start):
        raise _Broken(f"the connection ended after {start:,} of {request.size or total:,} bytes")


def _where(response: Any, start: int) -> tuple[int, int | None]:
    """At which byte the answer begins, and how long the whole file is. Raises _Broken if it says neither."""
    if response.status != 206:  # a server without ranges sends everything
        return 0, response.length
    told = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("Content-Range", "").strip())
    if told is None or int(told[1]) > start:
        raise _Broken("the server sends a part without saying which")
    return int(told[1]), None if told[2] == "*" else int(told[2])


def _check_total(total: int | None, there: int, file: IO[bytes], request: _Request) -> None:
    if total is None:
        return
    expected = request.size
    if total > LONGEST or (expected is not None and total != expected):
        file.truncate(0)
        wanted = f"expected {expected:,}" if expected is not None else f"more than {LONGEST:,}"
        raise DownloadError(f"{request.shown}: has {total:,} bytes, {wanted}; not the file, nothing was kept")
    free = shutil.disk_usage(Path(file.name).parent).free
    if total - there > free:
        raise OutputError(f"{printable(file.name)}: needs {total - there:,} bytes, {free:,} are free on that disk")


def _chunks(response: Any, request: _Request) -> Iterator[bytes]:
    """What comes, as it comes. Raises _Broken where next to nothing comes for `patience.seconds`."""
    seconds, since, came = request.patience.seconds, time.monotonic(), 0
    while chunk := response.read1(_CHUNK):
        yield chunk
        came += len(chunk)
        passed = time.monotonic() - since
        if passed > seconds:
            if came < _SLOWEST * passed:
                raise _Broken(f"{came:,} bytes in {passed:.0f} s, slower than {_SLOWEST:,} bytes a second")
            since, came = time.monotonic(), 0


@contextmanager
def _alone(file: IO[bytes], target: Path) -> Iterator[None]:
    """Two processes that append to one part would spoil it; the lock goes with its process."""
    try:
        import fcntl
    except ImportError:  # Windows: the hash finds what two at once did
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"{printable(target)}: another process is fetching it; wait for that one") from error
    yield
