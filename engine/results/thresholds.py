"""Which boxes of a model are shown when nobody says, and which when somebody does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard

SHOWN = 0.3
"""Lowest score that is shown where nobody measured a better one. A score is the mean of two corners': 0.5 hides many
right boxes (blood cells: F1 of white cells 0.61 at 0.5, 0.96 at 0.3)."""

Threshold = float | Mapping[str, float]
"""One number, or numbers of some classes by their names."""


def score_thresholds(asked: Threshold | None, card: ModelCard) -> float | tuple[float, ...]:
    """The lowest score that is kept, one number or one a class: what is asked for, else the card's, else `SHOWN`.

    Raises ValueError: no number from 0 to 1; ModelError: a class that the model does not know.
    """
    usual = SHOWN if card.score_thresholds is None else card.score_thresholds
    if asked is None:
        return usual
    if not isinstance(asked, Mapping):
        return _checked(asked, "score_threshold")
    class_labels(list(asked), card)
    rest = usual if isinstance(usual, tuple) else (usual,) * len(card.class_names)
    return tuple(
        _checked(asked[name], f"score_threshold of {name}") if name in asked else other
        for name, other in zip(card.class_names, rest)
    )


def class_labels(names: Sequence[str] | None, card: ModelCard) -> tuple[int, ...] | None:
    """Class indices of some names; None stays None. Raises ModelError for a name that the model does not know."""
    if names is None:
        return None
    if isinstance(names, str) or not names:
        raise ValueError(f"classes={names!r}; expected a list of class names, such as [{card.class_names[0]!r}]")
    unknown = [name for name in names if name not in card.class_names]
    if unknown:
        known = ", ".join(card.class_names[:20]) + (", ..." if len(card.class_names) > 20 else "")
        raise ModelError(f"{', '.join(map(str, unknown))}: no class of this model; it knows {known}")
    return tuple(sorted({card.class_names.index(name) for name in names}))


def _checked(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}; expected a number from 0 to 1")
    return float(value)
