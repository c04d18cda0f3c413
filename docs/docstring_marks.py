"""For griffe: docstrings are written to be read as they are; this says in Markdown what their layout says."""

from __future__ import annotations

import re
from typing import Any

import griffe

_COLUMNS = re.compile(r"\S {2,}\S")
_NAMED = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*):\s+")


class Marks(griffe.Extension):
    """Applied to every docstring of a page."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = marked(obj.docstring.value)


def marked(text: str) -> str:
    """Columns stay columns, `name: what it is` becomes a list, `[px]` is a unit and no link."""
    return "\n\n".join(map(_paragraph, text.split("\n\n")))


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    if all(line.startswith("    ") for line in lines):
        return text  # an example, as it is
    if len(lines) > 1 and sum(bool(_COLUMNS.search(line)) for line in lines) > len(lines) / 2:
        return "\n".join(f"    {line}" for line in lines)
    if len(lines) > 1 and _NAMED.match(lines[0]):
        lines = [_NAMED.sub(r"* `\1`: ", line) if _NAMED.match(line) else f"  {line}" for line in lines]
        return "\n" + "\n".join(map(_plain, lines))
    return "\n".join(map(_plain, lines))


def _plain(line: str) -> str:
    """Brackets that are no link and in no code are escaped."""
    return re.sub(r"(`[^`]*`)|\[(?=[^\]\n]*\](?!\())", lambda found: found[1] or "\\[", line)
