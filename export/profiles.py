"""Input shapes an engine is built for: which are legal, and which are chosen when nobody names any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cornernet.engine.backends.engine_card import Profile
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import INPUT, ModelCard
from cornernet.engine.saccade.two_looks import TOGETHER


def check_profiles(card: ModelCard, network: Any, profiles: tuple[Profile, ...]) -> None:
    """Raise ModelError unless every shape of every profile can be run: sides the network can halve and double without
    a rest (card.size_multiple), within max_size, and equal to dimensions that the file fixes."""
    shape = network.get_input(0).shape
    if network.get_input(0).name != INPUT or len(shape) != 4:
        raise ModelError(
            f"input {network.get_input(0).name} has shape {tuple(shape)}; expected {INPUT} (N, H, W, 3). "
            "Only files of `cornernet export` can be built."
        )
    for profile in profiles:
        for corner in (profile.min, profile.opt, profile.max):
            illegal = [side for side in corner[1:] if not card.is_legal_side(side)]
            if illegal:
                raise ModelError(
                    f"profile {profile}: a side of {illegal[0]} px cannot be run by {card.name}: up to {card.max_size} "
                    f"px, and rounding up to a multiple of {card.size_multiple} may add at most {card.stride - 1} px. "
                    f"Next legal side: {min(next_legal_side(card, illegal[0]), card.max_size)}"
                )
            if any(fixed not in (-1, asked) for fixed, asked in zip(tuple(shape)[:3], corner)):
                raise ModelError(f"profile {profile}: this file has fixed sizes {tuple(shape)[:3]} (-1: any)")


def next_legal_side(card: ModelCard, side_px: int) -> int:
    """`side_px` itself if legal, else the next multiple of the card's size rule [px]."""
    return side_px if card.is_legal_side(side_px) else -(-side_px // card.size_multiple) * card.size_multiple


def default_profile(card: ModelCard, shape: tuple[int, ...]) -> Profile:
    """One profile for everything the file accepts, tuned for four images of the training size: 1 image of the smallest
    legal canvas up to 8 of the largest. A service that knows its canvases gives narrower ones: less memory, faster.
    A Saccade's are known: views and crops have one size, and come by the dozen.

    shape: the network's input (N, H, W, 3), -1 where any size goes.
    """
    smallest = card.size_multiple - card.stride + 1
    largest = card.max_size // card.size_multiple * card.size_multiple or card.max_size
    height, width = (min(next_legal_side(card, side), largest) for side in card.usual_canvas)
    usual, most = 4, 8
    if card.saccade is not None:
        height = width = smallest = largest = card.usual_canvas[0]
        usual, most = 8, TOGETHER

    def fixed(corner: tuple[int, int, int]) -> Any:
        return tuple(size if any_size < 0 else any_size for size, any_size in zip(corner, shape))

    low, high = (1, smallest, smallest), (most, largest, largest)
    return Profile(min=fixed(low), opt=fixed((usual, height, width)), max=fixed(high))


def batch_profiles(card: ModelCard, shape: tuple[int, ...], batches: Sequence[int]) -> tuple[Profile, ...]:
    """One profile for each batch size, from the size below it up to it: kernels are then chosen for every size apart.
    Canvases as in `default_profile`. Raises ModelError for sizes that are not positive or a file of one fixed size."""
    sizes = sorted(set(batches))
    if sizes[0] < 1 or shape[0] > 0:
        fixed = f", this file has a fixed one of {shape[0]}" if shape[0] > 0 else ""
        raise ModelError(f"batch sizes {', '.join(map(str, sizes))}: expected positive numbers{fixed}.")
    whole = default_profile(card, shape)
    return tuple(
        Profile(
            min=(below + 1, *whole.min[1:]),  # type: ignore[arg-type]
            opt=(size, *whole.opt[1:]),  # type: ignore[arg-type]
            max=(size, *whole.max[1:]),  # type: ignore[arg-type]
        )
        for below, size in zip((0, *sizes), sizes)
    )
