"""Engines already built, found by content: the same ONNX, plugins, TensorRT, GPU and settings give the same file.

A cache entry is `<key>.engine` with `<key>.engine.json` beside it. Nothing is trusted: an entry whose length differs
from its card is built again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cornernet.engine.backends.engine_card import EngineCard, card_path, read_engine_card, write_engine_card
from cornernet.engine.cache_folder import cache_folder
from cornernet.engine.errors import ModelError
from cornernet.engine.whole_file import write_whole

KEPT = 16
"""Engines kept, newest use first. An hourglass-104 plan is about 400 MB in half precision."""

_FORMAT = 1
"""Part of every key; raise it when the builder's output changes for the same inputs."""


_RESULTS = {"engine", "layers", "precisions", "inspected", "scratch_bytes"}
"""Fields of a card that a build fills in; the others decide what it gives."""


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/cornernet/engines`, by default `~/.cache/cornernet/engines`."""
    return cache_folder("engines")


def key(draft: EngineCard) -> str:
    """Content key of a build: contents and settings decide it, file names and results do not."""
    facts: dict[str, Any] = draft.model_dump(mode="json", exclude=_RESULTS)
    for file in ("onnx", "plugins"):
        facts[file] = facts[file] and facts[file]["sha256"]
    text = json.dumps({"builder": _FORMAT, **facts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fetch(folder: Path, draft: EngineCard, output: Path) -> EngineCard | None:
    """Copy the engine that `draft` describes to `output`, with its sidecar; None if there is no sound entry."""
    entry = folder / f"{key(draft)}.engine"
    try:
        kept = read_engine_card(entry)
    except ModelError:
        return None
    names = {"engine": kept.engine.model_copy(update={"name": output.name}), "onnx": draft.onnx}
    card = kept.model_copy(update=names | {"plugins": draft.plugins})
    place(output, card, lambda partial: shutil.copyfile(entry, partial))
    entry.touch()
    return card


def store(folder: Path, draft: EngineCard, output: Path, card: EngineCard) -> None:
    """Keep a copy of `output`, then forget the engines used longest ago."""
    place(folder / f"{key(draft)}.engine", card, lambda partial: shutil.copyfile(output, partial))
    entries = sorted(folder.glob("*.engine"), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[KEPT:]:
        card_path(entry).unlink(missing_ok=True)
        entry.unlink(missing_ok=True)


def place(output: Path, card: EngineCard, write: Callable[[Path], object]) -> None:
    """Write plan, then sidecar (it vouches for the plan), so that no reader ever sees half a file."""
    write_whole(output, write)
    write_engine_card(output, card)
