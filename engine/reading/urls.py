"""Pictures from the web, only where that is asked for; and which other texts are no paths."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from typing import Any, TypeGuard

from cornernet.engine.errors import ImageError
from cornernet.engine.printable import printable

SECONDS = 10.0
"""How long a server may say nothing."""

WHOLE_SECONDS = 60.0
"""How long a picture may take in all."""

MOST_BYTES = 2**26
"""No picture larger than 64 MiB is taken from a server."""

_URL = re.compile(r"(?i)https?://")
_BASE64 = re.compile(r"(?:data:image/[\w.+-]+;base64,)?(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3])[A-Za-z0-9+/=\s]{32,}")


def is_url(source: Any) -> TypeGuard[str]:
    return isinstance(source, str) and _URL.match(source) is not None


def is_base64(name: str) -> bool:
    """Text that is the content of a picture: the first letters of JPEG, PNG, GIF, WebP, BMP in base64."""
    return name.startswith("data:image/") or _BASE64.match(name[:100]) is not None


def fetch(url: str, *, seconds: float = SECONDS, whole_seconds: float = WHOLE_SECONDS, most: int = MOST_BYTES) -> bytes:
    """The content at an http or https address. Raises ImageError: not there, too slow, too large."""
    name = shortened(url)
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


def shortened(name: str) -> str:
    """For messages: a thousand letters say no more than the first of them."""
    return printable(name if len(name) <= 1000 else f"{name[:120]}... ({len(name)} characters)")


class _WebOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, file: Any, code: int, text: str, headers: Any, url: str) -> Any:
        if not is_url(url):  # a server must not lead us to ftp or to files
            raise ImageError(f"{shortened(request.full_url)}: leads to {shortened(url)}, which is no web address")
        return super().redirect_request(request, file, code, text, headers, url)


_OPENER = urllib.request.build_opener(_WebOnly)
