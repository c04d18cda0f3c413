"""Figures 3, 6 and 8: what corner pooling does to a feature map, at a corner that the network found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cornernet.benchmarks.analyses.heatmap_picture import BRANCH_COLOURS
from cornernet.benchmarks.analyses.observe import Network, Observation, corners
from cornernet.benchmarks.figures import save, subplots
from cornernet.engine.errors import ModelError
from cornernet.trainer.network.corner_pool import bottom_pool, left_pool, right_pool, top_pool

POOLS = {"top-left": (top_pool, left_pool), "bottom-right": (bottom_pool, right_pool)}
SEEKS = {"top-left": ("below", "to the right"), "bottom-right": ("above", "to the left")}


class Pooled(NamedTuple):
    """One channel before and after the pooling of a branch, (h, w) float32, and the corner (column, row) [cell]."""

    vertical: np.ndarray
    vertical_pooled: np.ndarray
    horizontal: np.ndarray
    horizontal_pooled: np.ndarray
    corner: tuple[int, int]
    channel: int

    def sources(self, branch: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """(column, row) [cell] of the maxima that reach the corner: vertical, horizontal; the nearest of equals."""
        column, row = self.corner
        if branch == "top-left":
            down, right = self.vertical[row:, column], self.horizontal[row, column:]
            return (column, row + int(down.argmax())), (column + int(right.argmax()), row)
        up, left = self.vertical[row::-1, column], self.horizontal[row, column::-1]
        return (column, row - int(up.argmax())), (column - int(left.argmax()), row)


def pooled_channel(network: Network, seen: Observation, branch: str) -> Pooled:
    """The channel in which pooling brings most to the best corner of `branch`: the largest pooled minus unpooled sum.

    Raises ModelError if the network was trained without corner pooling.
    """
    if not network.config.corner_pooling:
        raise ModelError(f"{network.card.name} was trained without corner pooling: there is no pooling to show")
    number = list(POOLS).index(branch)
    vertical, horizontal = network.pool_inputs(seen.canvas)[number]
    first, second = (pool(values) for pool, values in zip(POOLS[branch], (vertical, horizontal)))
    best = corners(seen.heads, network.card.decoder)[number]
    columns = vertical.shape[3]
    x, y = (
        int(value.clamp(0, size - 1)) for value, size in ((best.x[0, 0], columns), (best.y[0, 0], vertical.shape[2]))
    )
    gain = (first + second - vertical - horizontal)[0, :, y, x]
    channel = int(gain.argmax())
    before, after, across, across_after = (
        values[0, channel].numpy() for values in (vertical, first, horizontal, second)
    )
    return Pooled(before, after, across, across_after, corner=(x, y), channel=channel)


def draw_pooling(network: Network, seen: Observation, output: Path) -> None:
    """Write a row per branch: the canvas with the corner and where its evidence lies, the maps before and after."""
    figure, axes = subplots(2, 6, figsize=(15, 5.4), layout="constrained")
    for row, branch in zip(axes, POOLS):
        pooled = pooled_channel(network, seen, branch)
        down, across = SEEKS[branch]
        titles = (
            f"best {branch} corner",
            f"first feature map, channel {pooled.channel}",
            f"maximum of it and all {down}",
            f"second feature map, channel {pooled.channel}",
            f"maximum of it and all {across}",
            "sum of both maxima",
        )
        maps = (*pooled[:4], pooled.vertical_pooled + pooled.horizontal_pooled)
        _show_canvas(row[0], network, seen, pooled, branch)
        # One scale per direction, so that before and after compare.
        tops = [max(maps[0].max(), 1e-6), max(maps[2].max(), 1e-6)]
        for axis, values, top in zip(row[1:], maps, (tops[0], tops[0], tops[1], tops[1], sum(tops))):
            axis.imshow(values, vmin=0, vmax=top, cmap="magma")
        for axis, source in ((row[1], 0), (row[3], 1)):
            _mark(axis, pooled, branch, (source,), half=0.0)
        for axis in (row[2], row[4], row[5]):
            _dot(axis, pooled.corner, BRANCH_COLOURS[branch], 0.0, 1.0)
        for axis, title in zip(row, titles):
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    save(figure, output)


def _show_canvas(axis: Any, network: Network, seen: Observation, pooled: Pooled, branch: str) -> None:
    height, width = pooled.vertical.shape
    canvas = seen.canvas if network.card.channel_order == "rgb" else seen.canvas[:, :, ::-1]
    axis.imshow(canvas, extent=(0, width, height, 0))
    _mark(axis, pooled, branch, (0, 1), half=0.5)


def _mark(axis: Any, pooled: Pooled, branch: str, which: tuple[int, ...], *, half: float) -> None:
    """The corner, and lines to the chosen sources (0 vertical, 1 horizontal) as in Fig. 3. half: shift [cell]."""
    (x, y), sources = pooled.corner, pooled.sources(branch)
    for number in which:
        column, row = sources[number]
        axis.plot([x + half, column + half], [y + half, row + half], color="#ff3030", linewidth=1.4)
        _dot(axis, (column, row), (255, 48, 48), half, 0.6)
    _dot(axis, (x, y), BRANCH_COLOURS[branch], half, 1.0)


def _dot(axis: Any, cell: tuple[int, int], colour: tuple[int, int, int], half: float, size: float) -> None:
    rgb = [value / 255 for value in colour]
    axis.scatter(
        [cell[0] + half], [cell[1] + half], s=48 * size, color=[rgb], edgecolors="white", linewidths=1, zorder=3
    )
