"""Which boxes of a model are shown when nobody says, and which when somebody does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cornernet.engine.arguments import number, shown
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import ModelCard
from cornernet.engine.protocol import Protocol

SHOWN = 0.3
"""Lowest score that is shown where nobody measured a better one. A score is the mean of two corners': 0.5 hides many
right boxes (blood cells: F1 of white cells 0.61 at 0.5, 0.96 at 0.3)."""

Threshold = float | Mapping[str, float]
"""One number, or numbers of some classes by their names."""


def score_thresholds(asked: Threshold | None, card: ModelCard, protocol: Protocol) -> float | tuple[float, ...]:
    """The lowest score that is kept, one number or one a class: what is asked for, else the card's, else `SHOWN`.

    A protocol that imitates another project keeps every box unless asked otherwise, as that project does.

    Raises ValueError: no number from 0 to 1; ModelError: a class that the model does not know.
    """
    usual = SHOWN if card.score_thresholds is None else card.score_thresholds
    if protocol.name != "default":
        usual = 0.0
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
    if isinstance(names, str) or not isinstance(names, list | tuple | set | frozenset) or not names:
        raise ValueError(
            f"classes={shown(names)}; expected a list of class names, such as [{shown(card.class_names[0])}]"
        )
    unknown = [shown(name).strip("'") for name in names if not isinstance(name, str) or name not in card.class_names]
    if unknown:
        known = ", ".join(card.class_names[:20]) + (", ..." if len(card.class_names) > 20 else "")
        raise ModelError(f"{', '.join(unknown[:20])}: no class of this model; it knows {known}")
    return tuple(sorted({card.class_names.index(name) for name in names}))


def _checked(value: float, name: str) -> float:
    return number(name, value, least=0, most=1, advice=", such as 0.5 for 50 %")
