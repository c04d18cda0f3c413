"""Model files that something outside the engine opens. The front door enters it here: the engine imports nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPENERS: dict[str, Callable[..., Any]] = {}
"""Suffix, such as ".safetensors" -> what opens the file: (path, **options) -> Backend."""
