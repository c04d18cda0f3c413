"""For griffe: `[px]` and `[cell]` in a docstring are units, not links to something of that name."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Units(griffe.Extension):
    """Escapes what Markdown would take for a reference."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?<![\w`\\])\[(?=[^\]\n]*\](?!\())", r"\\[", obj.docstring.value)
