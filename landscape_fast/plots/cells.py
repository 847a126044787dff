"""A small picture in every cell of a grid, all on one scale, one of them enlarged as the key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import NDArray

from landscape_fast.plots.canvas import blank_figure
from landscape_fast.plots.grid import Grid
from landscape_fast.plots.phases import COLOURS

Number = NDArray[np.float64]

_INSET = 0.07  # of a cell, around its picture


def figure_of_cells(grid: Grid, title: str, *, phase: str) -> tuple[Figure, Axes, Axes]:
    """A frame with equal cells, tinted by phase if there is one, and axes for the key beside it."""
    rows, columns = len(grid.temperature.values), len(grid.load.values)
    width, height = max(6.0, 0.72 * columns), max(4.2, 0.6 * rows)
    figure = blank_figure(width + 4.2, height + 1.1)
    places = figure.add_gridspec(1, 2, width_ratios=(width, 3.2))
    axes, key = figure.add_subplot(places[0]), figure.add_subplot(places[1])
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))
    heights = [_height(grid, row) for row in range(rows)]
    axes.xaxis.set_major_locator(FixedLocator(list(range(columns))))
    axes.xaxis.set_major_formatter(FixedFormatter(grid.load.ticks))
    axes.yaxis.set_major_locator(FixedLocator(sorted(heights)))
    names = [tick for _, tick in sorted(zip(heights, grid.temperature.ticks, strict=True))]
    axes.yaxis.set_major_formatter(FixedFormatter(names))
    axes.tick_params(length=0, labelsize=10)
    axes.set_xlabel(grid.load.label, fontsize=12)
    axes.set_ylabel(grid.temperature.label + grid.at_the_top, fontsize=12)
    axes.set_title(title, fontsize=12)
    for spine in axes.spines.values():
        spine.set_visible(False)
    phases = grid.names(phase) if phase in grid else np.full((rows, columns), "undecided")
    for row in range(rows):
        for column in range(columns):
            colour = _tint(str(phases[row, column]))
            corner = column - 0.5, _height(grid, row) - 0.5
            box = Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white", linewidth=2.0)
            axes.add_patch(box)
    return figure, axes, key


def into_cell(grid: Grid, place: tuple[int, int], x: Number, y: Number) -> tuple[Number, Number]:
    """Where points of a cell's picture, given as shares of it, lie in the frame."""
    row, column = place
    size = 1.0 - 2.0 * _INSET
    return column - 0.5 + _INSET + size * x, _height(grid, row) - 0.5 + _INSET + size * y


def name_key(key: Axes, title: str, *, x: str, y: str, handles: Sequence[Artist]) -> None:
    """Label the axes of the key, with a legend under it."""
    key.set_box_aspect(0.85)
    key.set_title(title, fontsize=11)
    key.set_xlabel(x, fontsize=10)
    key.set_ylabel(y, fontsize=10)
    key.tick_params(labelsize=9)
    for side in ("top", "right"):
        key.spines[side].set_visible(False)
    key.legend(
        handles=handles,
        frameon=False,
        ncols=2,
        fontsize=10,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
    )


def phase_keys(grid: Grid, phase: str) -> list[Artist]:
    """What the tints of the cells mean."""
    there = set(grid.names(phase).ravel()) if phase in grid else set()
    return [Patch(facecolor=_tint(name), label=name) for name in COLOURS if name in there]


def _tint(phase: str) -> tuple[float, float, float]:
    """The colour of a phase, faint enough to draw over it; white where there is no cell."""
    red, green, blue = (0.72 + 0.28 * part for part in to_rgb(COLOURS.get(phase, "white")))
    return red, green, blue


def _height(grid: Grid, row: int) -> int:
    """Place of a row from the bottom; hot rows are at the top."""
    return len(grid.temperature.values) - 1 - row if grid.hot == "small" else row
