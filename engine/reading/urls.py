"""Pictures from the web, only where that is asked for; and which other texts are no paths."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from typing import Any, TypeGuard

from cornernet.engine.arguments import shown_path
from cornernet.engine.errors import ImageError
from cornernet.engine.printable import printable

SECONDS = 10.0
"""How long a server may say nothing."""

WHOLE_SECONDS = 60.0
"""How long a picture may take in all."""

MOST_BYTES = 2**26
"""No picture larger than 64 MiB is taken from a server."""

_URL = re.compile(r"(?i)https?://")
_ADDRESS = re.compile(r"(?i)(data:|[a-z][a-z0-9+.-]+:/)")
"""Also of an address whose slashes `pathlib` has joined; drives of Windows have one letter."""

_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3])[A-Za-z0-9+/=\s]{32,}")


def is_url(source: Any) -> TypeGuard[str]:
    return isinstance(source, str) and _URL.match(source) is not None


def check_path(text: str) -> None:
    """Raises ImageError for text that is an address, or the content of a picture, and no path."""
    if is_url(text):
        raise ImageError(
            f"{shown_path(text)}: an address is not fetched unless that is asked for: allow_urls=True in Python, "
            "--urls on the command line; or download it"
        )
    if text.startswith("data:image/") or _BASE64.match(text[:100]):
        raise ImageError(
            f"text of {len(text)} characters that looks like a picture in base64, not like a path; give its bytes: "
            "base64.b64decode(text)"
        )
    if (address := _ADDRESS.match(text)) is not None:
        what = (
            "a data URL; decode its base64 part" if address[1].lower() == "data:" else "an address; download it first"
        )
        raise ImageError(f"{printable(text[:60])}: {what}, and hand in the bytes or a file")


def fetch(url: str, *, seconds: float = SECONDS, whole_seconds: float = WHOLE_SECONDS, most: int = MOST_BYTES) -> bytes:
    """The content at an http or https address. Raises ImageError: not there, too slow, too large."""
    name = shown_path(url)
    deadline = time.monotonic() + whole_seconds
    parts: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "cornernet"})
        with _OPENER.open(request, timeout=seconds) as response:
            while part := response.read1(2**16):
                parts.append(part)
                size += len(part)
                if size > most:
                    raise ImageError(f"{name}: larger than {most} bytes; download it and give the file")
                if time.monotonic() > deadline:
                    raise ImageError(f"{name}: not complete after {whole_seconds:g} s; download it and give the file")
            expected = response.headers.get("Content-Length")
    except ImageError:
        raise
    except urllib.error.HTTPError as error:
        raise ImageError(f"{name}: the server says {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise ImageError(f"{name}: the server said nothing for {seconds:g} s") from error
    except (OSError, ValueError) as error:  # URLError, HTTPException's kin, a strange address
        reason = getattr(error, "reason", None) or error
        raise ImageError(f"{name}: cannot be fetched: {reason}") from error
    except Exception as error:  # http.client raises its own family
        raise ImageError(f"{name}: cannot be fetched: {error or type(error).__name__}") from error
    if expected is not None and expected.isdigit() and int(expected) != size:
        raise ImageError(f"{name}: the connection ended after {size} of {expected} bytes")
    return b"".join(parts)


class _WebOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, file: Any, code: int, text: str, headers: Any, url: str) -> Any:
        if not is_url(url):  # a server must not lead us to ftp or to files
            raise ImageError(f"{shown_path(request.full_url)}: leads to {shown_path(url)}, which is no web address")
        return super().redirect_request(request, file, code, text, headers, url)


_OPENER = urllib.request.build_opener(_WebOnly)
