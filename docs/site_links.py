"""What a built site links: every page, file and anchor must be there, and nothing is fetched from elsewhere.

zensical checks the links that somebody wrote; this checks those of the finished pages, docstrings and notebooks too.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
_NO_FETCH = {"canonical", "alternate", "prev", "next", "edit"}


class _Page(HTMLParser):
    """links: (address, whether a browser fetches it unasked); anchors: what can be linked in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, bool]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append((values["href"], False))
        elif _FETCHED.get(tag) in values:
            self.links.append((values[_FETCHED[tag]], not _NO_FETCH.intersection(values.get("rel", "").split())))


def problems_of(site: Path) -> list[str]:
    """One line for each link that leads nowhere, or that makes a browser ask another server."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        if file.name == "404.html":  # shown at any address: its links begin at the root of a server
            continue
        for link, fetched in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if fetched and parts.scheme != "data":
                    found.append(f"{file.relative_to(site)}: fetches {link}")
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{file.relative_to(site)}: {link} is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{file.relative_to(site)}: {link} has no such anchor")
    return found
